package io.github.pgentra;

import java.util.Objects;

/**
 * What a token is requested for.
 *
 * @param scope the scope, such as {@code https://ossrdbms-aad.database.windows.net/.default}
 * @param tenantId another tenant than the credential's own, or null
 * @param claims a claims challenge in JSON, or null
 * @param enableCae whether the token may be revoked by a claims challenge; such tokens are cached apart
 */
public record TokenRequest(String scope, String tenantId, String claims, boolean enableCae) {
    /** The request for a scope, without a tenant or claims. */
    public TokenRequest(String scope) {
        this(scope, null, null, false);
    }

    public TokenRequest {
        Objects.requireNonNull(scope, "scope");
    }
}
