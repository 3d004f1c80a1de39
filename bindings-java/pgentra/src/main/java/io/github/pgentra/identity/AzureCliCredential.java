package io.github.pgentra.identity;

import java.util.Map;

/** The account that is signed in with {@code az}. Made by {@link AzureCliCredentialBuilder}. */
public final class AzureCliCredential extends DocumentCredential {
    AzureCliCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("azure_cli", document, assertion);
    }
}
