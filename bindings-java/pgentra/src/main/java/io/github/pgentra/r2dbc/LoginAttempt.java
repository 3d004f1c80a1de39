package io.github.pgentra.r2dbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.Login;
import io.github.pgentra.TokenProvider;
import java.util.List;
import java.util.concurrent.CompletionException;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Mono;

/** What one connection logs in with. The decorator puts it into Reactor's context, and the driver's publishers fill it in. */
final class LoginAttempt {
    private String user;
    private String userSource;
    private String token;
    private String host;

    String user() {
        return user;
    }

    String userSource() {
        return userSource;
    }

    String token() {
        return token;
    }

    String host() {
        return host;
    }

    /** The role of the next login. */
    static Publisher<String> user(TokenProvider provider) {
        return login(provider).map(Login::user);
    }

    /** The token of the next login. */
    static Publisher<CharSequence> password(TokenProvider provider, String givenUser, List<String> hosts) {
        return Mono.deferContextual(context -> login(provider).map(login -> {
            context.<LoginAttempt>getOrEmpty(LoginAttempt.class).ifPresent(attempt -> {
                attempt.user = givenUser != null ? givenUser : login.user();
                attempt.userSource = givenUser != null ? "user" : login.userSource();
                attempt.token = login.password();
                attempt.host = hosts.get(0);
            });
            return login.password();
        }));
    }

    private static Mono<Login> login(TokenProvider provider) {
        return Mono.defer(() -> Mono.fromFuture(provider.loginAsync()))
                .onErrorMap(CompletionException.class, e -> e.getCause() == null ? e : e.getCause())
                .onErrorMap(EntraException.class, R2dbcErrors::of);
    }
}
