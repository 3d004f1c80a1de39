package io.github.pgentra.identity;

import java.util.Map;

/** An application with a secret. Made by {@link ClientSecretCredentialBuilder}. */
public final class ClientSecretCredential extends DocumentCredential {
    ClientSecretCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("client_secret", document, assertion);
    }
}
