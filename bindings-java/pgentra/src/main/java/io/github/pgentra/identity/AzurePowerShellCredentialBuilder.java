package io.github.pgentra.identity;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link AzurePowerShellCredential}, as azure-identity's builder of this name. */
public final class AzurePowerShellCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** Default: the signed-in tenant. */
    public AzurePowerShellCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The time limit. Default: 10 s. */
    public AzurePowerShellCredentialBuilder processTimeout(Duration value) {
        document.put("process_timeout", value.toMillis() / 1000.0);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public AzurePowerShellCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public AzurePowerShellCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public AzurePowerShellCredential build() {
        return new AzurePowerShellCredential(document, null);
    }
}
