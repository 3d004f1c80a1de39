package io.github.pgentra.azure;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import io.github.pgentra.TokenRequest;
import io.github.pgentra.identity.Credential;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import reactor.core.publisher.Mono;

/**
 * Uses a {@link TokenCredential} of azure-core, such as those of azure-identity, as a credential of pgentra:
 *
 * <pre>{@code
 * EntraDataSource.builder(url).credential(AzureCredential.of(new DefaultAzureCredentialBuilder().build())).build();
 * }</pre>
 *
 * <p>Its tokens are cached and refreshed by pgentra: it is asked only when a fetch is due. A
 * {@code CredentialUnavailableException} of azure-identity lets a chain go on to its next member.
 */
public final class AzureCredential {
    private AzureCredential() {}

    /**
     * Returns a credential that requests its tokens from another.
     *
     * @param credential the credential; its {@code getToken} is subscribed to, or {@code getTokenSync} is called where it
     *     supports only that
     */
    public static Credential of(TokenCredential credential) {
        Objects.requireNonNull(credential, "credential");
        if (credential instanceof PgEntraTokenCredential ours) {
            return ours.credential();
        }
        String name = credential.getClass().isHidden() ? "TokenCredential" : credential.getClass().getSimpleName();
        return Credential.ofAsync(name, request -> fetch(credential, context(request)));
    }

    private static TokenRequestContext context(TokenRequest request) {
        TokenRequestContext context = new TokenRequestContext().addScopes(request.scope()).setCaeEnabled(request.enableCae());
        if (request.tenantId() != null) {
            context.setTenantId(request.tenantId());
        }
        if (request.claims() != null) {
            context.setClaims(request.claims());
        }
        return context;
    }

    private static CompletableFuture<io.github.pgentra.AccessToken> fetch(
            TokenCredential credential, TokenRequestContext context) {
        Mono<AccessToken> pending;
        try {
            pending = credential.getToken(context);
        } catch (UnsupportedOperationException e) {
            pending = null;
        }
        if (pending == null) {
            return CompletableFuture.completedFuture(token(credential.getTokenSync(context)));
        }
        CompletableFuture<io.github.pgentra.AccessToken> result = new CompletableFuture<>();
        pending.subscribe(
                token -> result.complete(token(token)), result::completeExceptionally, () -> result.complete(null));
        return result;
    }

    private static io.github.pgentra.AccessToken token(AccessToken token) {
        return token == null || token.getToken() == null
                ? null
                : new io.github.pgentra.AccessToken(
                        token.getToken(), instant(token.getExpiresAt()), instant(token.getRefreshAt()));
    }

    private static Instant instant(OffsetDateTime time) {
        // azure-core uses the end of time where a token does not say when it expires.
        return time == null || time.equals(OffsetDateTime.MAX) ? null : time.toInstant();
    }
}
