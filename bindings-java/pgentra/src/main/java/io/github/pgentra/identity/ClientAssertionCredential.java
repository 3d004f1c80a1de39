package io.github.pgentra.identity;

import java.util.Map;

/** An application with an assertion that a function of the application returns. Made by {@link ClientAssertionCredentialBuilder}. */
public final class ClientAssertionCredential extends DocumentCredential {
    ClientAssertionCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("client_assertion", document, assertion);
    }
}
