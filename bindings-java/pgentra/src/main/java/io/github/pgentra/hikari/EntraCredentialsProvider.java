package io.github.pgentra.hikari;

import com.zaxxer.hikari.HikariCredentialsProvider;
import com.zaxxer.hikari.util.Credentials;
import io.github.pgentra.Login;
import io.github.pgentra.TokenProvider;
import java.util.Objects;

/**
 * Gives HikariCP 7 the role and the token of each new connection:
 * {@code config.setCredentialsProvider(new EntraCredentialsProvider(provider))}. The URL needs {@code sslmode=verify-full}
 * and no user. The TLS rule and the retry of a refused login are those of {@link io.github.pgentra.jdbc.EntraDataSource}.
 */
public final class EntraCredentialsProvider implements HikariCredentialsProvider {
    private final TokenProvider provider;

    /**
     * @param provider the provider; it stays the caller's to close
     */
    public EntraCredentialsProvider(TokenProvider provider) {
        this.provider = Objects.requireNonNull(provider, "provider");
    }

    @Override
    public Credentials getCredentials() {
        Login login = provider.login();
        return Credentials.of(login.user(), login.password());
    }
}
