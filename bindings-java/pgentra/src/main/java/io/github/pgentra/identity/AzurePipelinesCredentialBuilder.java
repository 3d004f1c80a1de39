package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link AzurePipelinesCredential}, as azure-identity's builder of this name. */
public final class AzurePipelinesCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The tenant's id or domain name. */
    public AzurePipelinesCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The application's client id. */
    public AzurePipelinesCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** The service connection's id. */
    public AzurePipelinesCredentialBuilder serviceConnectionId(String value) {
        document.put("service_connection_id", value);
        return this;
    }

    /** The task's {@code System.AccessToken}. */
    public AzurePipelinesCredentialBuilder systemAccessToken(String value) {
        document.put("system_access_token", value);
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public AzurePipelinesCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public AzurePipelinesCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public AzurePipelinesCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public AzurePipelinesCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public AzurePipelinesCredential build() {
        return new AzurePipelinesCredential(document, null);
    }
}
