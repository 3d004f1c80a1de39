package io.github.pgentra;

import java.util.concurrent.CompletionStage;

/** A credential of the application that returns its token later; see {@link TokenSource}. */
@FunctionalInterface
public interface AsyncTokenSource {
    /**
     * Starts to fetch a token.
     *
     * @param request what the token is for
     * @return the token's stage; null as its result: the credential is not available here
     * @throws Exception why there is no token
     */
    CompletionStage<AccessToken> getTokenAsync(TokenRequest request) throws Exception;
}
