package io.github.pgentra.internal;

/** Receives the token requests to a custom credential, on threads of the engine that it may block. */
interface TokenCallback {
    /**
     * @param request the handle, for one call of {@link Native#respond}, {@link Native#fail} or {@link Native#abandon}
     * @param scope the scope in UTF-8
     * @param tenantId the tenant in UTF-8, or null
     * @param claims a claims challenge in UTF-8, or null
     * @param enableCae whether the token may be revoked by a claims challenge
     */
    void requested(long request, byte[] scope, byte[] tenantId, byte[] claims, boolean enableCae);
}
