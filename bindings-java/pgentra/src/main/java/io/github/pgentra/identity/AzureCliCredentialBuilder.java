package io.github.pgentra.identity;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link AzureCliCredential}, as azure-identity's builder of this name. */
public final class AzureCliCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** Default: the signed-in tenant. */
    public AzureCliCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** Name or id of a subscription. */
    public AzureCliCredentialBuilder subscription(String value) {
        document.put("subscription", value);
        return this;
    }

    /** The time limit. Default: 10 s. */
    public AzureCliCredentialBuilder processTimeout(Duration value) {
        document.put("process_timeout", value.toMillis() / 1000.0);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public AzureCliCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public AzureCliCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public AzureCliCredential build() {
        return new AzureCliCredential(document, null);
    }
}
