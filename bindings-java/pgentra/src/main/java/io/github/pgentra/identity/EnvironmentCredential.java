package io.github.pgentra.identity;

import java.util.Map;

/** A service principal from the variables {@code AZURE_CLIENT_ID}, {@code AZURE_TENANT_ID} and a secret or certificate. Made by {@link EnvironmentCredentialBuilder}. */
public final class EnvironmentCredential extends DocumentCredential {
    EnvironmentCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("environment", document, assertion);
    }
}
