package io.github.pgentra.r2dbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.Login;
import io.github.pgentra.TokenProvider;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Supplier;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Mono;

/** What one connection logs in with. The decorator puts it into Reactor's context, and the driver's publishers fill it in. */
final class LoginAttempt {
    private volatile Login login;
    private volatile String host;

    /** The role and the token, or null before the driver requested them. */
    Login login() {
        return login;
    }

    String host() {
        return host;
    }

    /** The role of the next login. */
    static Publisher<String> user(TokenProvider provider) {
        return mapped(provider::loginAsync).map(Login::user);
    }

    /** The token of the next login; {@code givenUser}: the role, if the options name it. */
    static Publisher<CharSequence> password(TokenProvider provider, String givenUser, List<String> hosts) {
        return Mono.deferContextual(context -> {
            // The role is not derived where it is given.
            Mono<Login> login = givenUser == null
                    ? mapped(provider::loginAsync)
                    : mapped(provider::tokenAsync)
                            .map(token -> new Login(givenUser, token.token(), "user", token.expiresOn()));
            return login.map(found -> {
                context.<LoginAttempt>getOrEmpty(LoginAttempt.class).ifPresent(attempt -> {
                    attempt.login = found;
                    attempt.host = hosts.get(0);
                });
                return found.password();
            });
        });
    }

    private static <T> Mono<T> mapped(Supplier<CompletableFuture<T>> call) {
        return Mono.defer(() -> Mono.fromFuture(call.get()))
                .onErrorMap(CompletionException.class, e -> e.getCause() == null ? e : e.getCause())
                .onErrorMap(EntraException.class, R2dbcErrors::of);
    }
}
