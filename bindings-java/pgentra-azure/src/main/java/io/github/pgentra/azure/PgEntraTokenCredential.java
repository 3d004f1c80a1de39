package io.github.pgentra.azure;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.core.exception.ClientAuthenticationException;
import io.github.pgentra.CredentialUnavailableException;
import io.github.pgentra.EntraException;
import io.github.pgentra.TokenRequest;
import io.github.pgentra.identity.Credential;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletionException;
import reactor.core.publisher.Mono;

/**
 * Uses a credential of pgentra for a client of azure-core, such as a blob client. Tokens come from pgentra's cache, so one
 * identity is fetched once for the database and the other services.
 */
public final class PgEntraTokenCredential implements TokenCredential {
    private final Credential credential;

    /**
     * @param credential the credential
     */
    public PgEntraTokenCredential(Credential credential) {
        this.credential = Objects.requireNonNull(credential, "credential");
    }

    Credential credential() {
        return credential;
    }

    /**
     * Returns a token, without blocking.
     *
     * @param context one scope, and optionally tenant, claims and continuous access evaluation
     * @return the token; its error is a {@link ClientAuthenticationException} with pgentra's exception as the cause, or
     *     azure-identity's {@code CredentialUnavailableException} where azure-identity is on the class path
     */
    @Override
    public Mono<AccessToken> getToken(TokenRequestContext context) {
        return Mono.defer(() -> Mono.fromFuture(credential.getTokenAsync(request(context))))
                .map(PgEntraTokenCredential::token)
                .onErrorMap(CompletionException.class, e -> e.getCause() == null ? e : e.getCause())
                .onErrorMap(EntraException.class, PgEntraTokenCredential::failure);
    }

    /** As {@link #getToken}; waits for the token. */
    @Override
    public AccessToken getTokenSync(TokenRequestContext context) {
        try {
            return token(credential.getToken(request(context)));
        } catch (EntraException e) {
            throw failure(e);
        }
    }

    private static TokenRequest request(TokenRequestContext context) {
        List<String> scopes = context.getScopes();
        if (scopes.size() != 1) {
            throw new IllegalArgumentException("expected one scope, found " + scopes.size());
        }
        return new TokenRequest(scopes.get(0), context.getTenantId(), context.getClaims(), context.isCaeEnabled());
    }

    private static AccessToken token(io.github.pgentra.AccessToken token) {
        OffsetDateTime expiresAt = token.expiresOn() == null ? OffsetDateTime.MAX : time(token.expiresOn());
        return token.refreshOn() == null
                ? new AccessToken(token.token(), expiresAt)
                : new AccessToken(token.token(), expiresAt, time(token.refreshOn()));
    }

    private static OffsetDateTime time(Instant instant) {
        return instant.atOffset(ZoneOffset.UTC);
    }

    private static RuntimeException failure(EntraException error) {
        if (error instanceof CredentialUnavailableException) {
            try {
                // A chain of azure-identity goes on to its next member only for its own class.
                return (RuntimeException) Class.forName("com.azure.identity.CredentialUnavailableException")
                        .getConstructor(String.class, Throwable.class)
                        .newInstance(error.getMessage(), error);
            } catch (ReflectiveOperationException | LinkageError | ClassCastException e) {
                return new ClientAuthenticationException(error.getMessage(), null, error);
            }
        }
        return new ClientAuthenticationException(error.getMessage(), null, error);
    }
}
