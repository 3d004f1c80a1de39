package io.github.pgentra.identity;

import java.util.Map;

/** A managed identity of Azure. Made by {@link ManagedIdentityCredentialBuilder}. */
public final class ManagedIdentityCredential extends DocumentCredential {
    ManagedIdentityCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("managed_identity", document, assertion);
    }
}
