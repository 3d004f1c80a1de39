package io.github.pgentra.internal;

/** Receives the outcome of an asynchronous call of the engine, once, on a thread of the engine. */
interface Completion {
    /**
     * @param error the error's message, a NUL and its JSON document in UTF-8, or null on success
     * @param cause what a custom credential threw, or null
     * @param token the token, or null
     * @param user the role, or null
     * @param userSource the source of the role's name, or null
     * @param expiresOn the token's expiry in seconds since 1970, or 0
     * @param refreshOn the token's refresh point in seconds since 1970, or 0
     * @param id the id of the token or login, or 0
     */
    void done(
            byte[] error,
            Throwable cause,
            byte[] token,
            byte[] user,
            byte[] userSource,
            long expiresOn,
            long refreshOn,
            long id);
}
