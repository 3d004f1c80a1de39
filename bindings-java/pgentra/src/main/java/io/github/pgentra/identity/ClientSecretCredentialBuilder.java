package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link ClientSecretCredential}, as azure-identity's builder of this name. */
public final class ClientSecretCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The tenant's id or domain name. */
    public ClientSecretCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The application's client id. */
    public ClientSecretCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** The application's secret. */
    public ClientSecretCredentialBuilder clientSecret(String value) {
        document.put("client_secret", value);
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public ClientSecretCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public ClientSecretCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public ClientSecretCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public ClientSecretCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public ClientSecretCredential build() {
        return new ClientSecretCredential(document, null);
    }
}
