package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/** Builds a {@link ClientAssertionCredential}, as azure-identity's builder of this name. */
public final class ClientAssertionCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();
    private AssertionCredential assertion;

    /** The tenant's id or domain name. */
    public ClientAssertionCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The application's client id. */
    public ClientAssertionCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** Returns the assertion. Called at each token request. */
    public ClientAssertionCredentialBuilder clientAssertion(Supplier<String> value) {
        assertion = new AssertionCredential(value);
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public ClientAssertionCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public ClientAssertionCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public ClientAssertionCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public ClientAssertionCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public ClientAssertionCredential build() {
        return new ClientAssertionCredential(document, assertion);
    }
}
