package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link WorkloadIdentityCredential}, as azure-identity's builder of this name. */
public final class WorkloadIdentityCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** Default: {@code AZURE_TENANT_ID}. */
    public WorkloadIdentityCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** Default: {@code AZURE_CLIENT_ID}. */
    public WorkloadIdentityCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** The file of the service account's token. Default: {@code AZURE_FEDERATED_TOKEN_FILE}. */
    public WorkloadIdentityCredentialBuilder tokenFilePath(String value) {
        document.put("token_file_path", value);
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public WorkloadIdentityCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public WorkloadIdentityCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public WorkloadIdentityCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public WorkloadIdentityCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public WorkloadIdentityCredential build() {
        return new WorkloadIdentityCredential(document, null);
    }
}
