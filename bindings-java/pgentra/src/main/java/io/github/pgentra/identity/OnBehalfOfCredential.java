package io.github.pgentra.identity;

import java.util.Map;

/** An application that acts for a user. Made by {@link OnBehalfOfCredentialBuilder}. */
public final class OnBehalfOfCredential extends DocumentCredential {
    OnBehalfOfCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("on_behalf_of", document, assertion);
    }
}
