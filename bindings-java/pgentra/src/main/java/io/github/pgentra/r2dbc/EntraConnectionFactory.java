package io.github.pgentra.r2dbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.internal.Library;
import io.r2dbc.spi.Connection;
import io.r2dbc.spi.ConnectionFactory;
import io.r2dbc.spi.ConnectionFactoryMetadata;
import io.r2dbc.spi.R2dbcException;
import io.r2dbc.spi.R2dbcPermissionDeniedException;
import io.r2dbc.spi.Wrapped;
import java.util.Objects;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Mono;

/** Retries a login error once with a newer token, and otherwise explains it. */
final class EntraConnectionFactory implements ConnectionFactory, Wrapped<ConnectionFactory> {
    private final ConnectionFactory factory;
    private final TokenProvider provider;

    EntraConnectionFactory(ConnectionFactory factory, TokenProvider provider) {
        this.factory = Objects.requireNonNull(factory, "factory");
        this.provider = Objects.requireNonNull(provider, "provider");
    }

    @Override
    public Publisher<? extends Connection> create() {
        return Mono.defer(() -> connect(true));
    }

    private Mono<Connection> connect(boolean again) {
        LoginAttempt attempt = new LoginAttempt();
        return Mono.<Connection>from(factory.create())
                .contextWrite(context -> context.put(LoginAttempt.class, attempt))
                .onErrorResume(error -> {
                    EntraException own = EntraException.find(error);
                    if (own != null) {
                        // The driver reports it as a failed connection, which would be tried again for ever.
                        return Mono.error(R2dbcErrors.of(own));
                    }
                    R2dbcException refused = loginError(error);
                    if (refused == null || attempt.login() == null) {
                        return Mono.error(error);
                    }
                    Mono<Boolean> newer = again && Library.isRetriable(refused.getSqlState(), refused.getMessage())
                            ? Mono.fromFuture(provider.invalidateAsync(attempt.login().password())).onErrorReturn(false)
                            : Mono.just(false);
                    return newer.flatMap(is -> is ? connect(false) : Mono.error(explained(refused, attempt)));
                });
    }

    private static R2dbcException loginError(Throwable error) {
        Throwable current = error;
        for (int depth = 0; current != null && depth < 20; depth++) {
            if (current instanceof R2dbcException found && found.getSqlState() != null && found.getSqlState().startsWith("28")) {
                return found;
            }
            current = current.getCause();
        }
        return null;
    }

    private static R2dbcException explained(R2dbcException refused, LoginAttempt attempt) {
        String explanation = Library.explain(
                refused.getSqlState(),
                refused.getMessage(),
                attempt.login().user(),
                attempt.login().userSource(),
                attempt.login().password(),
                attempt.host());
        return explanation.isEmpty()
                ? refused
                : new R2dbcPermissionDeniedException(
                        refused.getMessage() + "\n" + explanation, refused.getSqlState(), refused.getErrorCode(), refused);
    }

    @Override
    public ConnectionFactoryMetadata getMetadata() {
        return factory.getMetadata();
    }

    @Override
    public ConnectionFactory unwrap() {
        return factory;
    }

    @Override
    public String toString() {
        return "EntraConnectionFactory[" + factory.getMetadata().getName() + "]";
    }
}
