package io.github.pgentra;

/**
 * A credential of the application. Its tokens are cached and refreshed like those of any other credential: it is called when a
 * fetch is due, never twice at once for the same request.
 */
@FunctionalInterface
public interface TokenSource {
    /**
     * Returns a token. Called on a thread of the engine, which it may block, at most 30 s.
     *
     * @param request what the token is for
     * @return the token; null: the credential is not available here, and a chain goes on to its next member
     * @throws Exception why there is no token; it becomes the cause of the callers' {@link AuthenticationException}
     */
    AccessToken getToken(TokenRequest request) throws Exception;
}
