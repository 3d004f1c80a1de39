package io.github.pgentra.identity;

import java.util.Map;

/** A fixed token, for tests and tools. Made by {@link StaticTokenCredentialBuilder}. */
public final class StaticTokenCredential extends DocumentCredential {
    StaticTokenCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("static_token", document, assertion);
    }
}
