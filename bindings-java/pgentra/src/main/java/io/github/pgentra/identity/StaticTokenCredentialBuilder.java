package io.github.pgentra.identity;

import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;

/** Builds a {@link StaticTokenCredential}, as azure-identity's builder of this name. */
public final class StaticTokenCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The access token. */
    public StaticTokenCredentialBuilder token(String value) {
        document.put("token", value);
        return this;
    }

    /** When it expires. Default: its {@code exp} claim. */
    public StaticTokenCredentialBuilder expiresOn(Instant value) {
        document.put("expires_on", value.getEpochSecond());
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public StaticTokenCredential build() {
        return new StaticTokenCredential(document, null);
    }
}
