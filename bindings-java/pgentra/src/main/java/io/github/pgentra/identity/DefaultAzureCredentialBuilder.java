package io.github.pgentra.identity;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link DefaultAzureCredential}, as azure-identity's builder of this name. */
public final class DefaultAzureCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The tenant of the developer tools and of workload identity. */
    public DefaultAzureCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The client id of the user-assigned managed identity. Default: {@code AZURE_CLIENT_ID}. */
    public DefaultAzureCredentialBuilder managedIdentityClientId(String value) {
        document.put("managed_identity_client_id", value);
        return this;
    }

    /** The resource id of the user-assigned managed identity. */
    public DefaultAzureCredentialBuilder managedIdentityResourceId(String value) {
        document.put("managed_identity_resource_id", value);
        return this;
    }

    /** The client id of the workload identity. */
    public DefaultAzureCredentialBuilder workloadIdentityClientId(String value) {
        document.put("workload_identity_client_id", value);
        return this;
    }

    /** The time limit of each developer tool. Default: 10 s. */
    public DefaultAzureCredentialBuilder credentialProcessTimeout(Duration value) {
        document.put("process_timeout", value.toMillis() / 1000.0);
        return this;
    }

    /** Variables that must be set. */
    public DefaultAzureCredentialBuilder requireEnvVars(String... values) {
        document.put("required_env_vars", List.of(values));
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public DefaultAzureCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public DefaultAzureCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public DefaultAzureCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public DefaultAzureCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public DefaultAzureCredential build() {
        return new DefaultAzureCredential(document, null);
    }
}
