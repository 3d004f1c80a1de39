package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.Map;

/** Builds a {@link EnvironmentCredential}, as azure-identity's builder of this name. */
public final class EnvironmentCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public EnvironmentCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public EnvironmentCredential build() {
        return new EnvironmentCredential(document, null);
    }
}
