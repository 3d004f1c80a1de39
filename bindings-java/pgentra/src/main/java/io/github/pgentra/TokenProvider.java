package io.github.pgentra;

import io.github.pgentra.internal.ConnectionOptions;
import io.github.pgentra.internal.Json;
import io.github.pgentra.internal.Library;
import io.github.pgentra.internal.Settings;
import io.github.pgentra.internal.TokenClient;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;

/**
 * A role name and a token for PostgreSQL, kept fresh. Call it for each new connection: it returns the cached token. Providers
 * of equal settings share one token. Safe for use by several threads.
 *
 * <pre>{@code
 * try (var provider = TokenProvider.builder().host("shop.postgres.database.azure.com").build()) {
 *     Login login = provider.login();
 *     DriverManager.getConnection(url, login.user(), login.password());
 * }
 * }</pre>
 *
 * <p>A blocking method waits only while no token is usable, at most the option {@code timeout}; a virtual thread is not pinned.
 * An interrupt ends the wait with the code {@code cancelled}. Errors are {@link EntraException}s.
 */
public final class TokenProvider implements AutoCloseable {
    private final TokenClient client;

    private TokenProvider(TokenClient client) {
        this.client = client;
    }

    /** Returns a builder. */
    public static Builder builder() {
        return new Builder();
    }

    /** Returns the statistics of every cached token of this process; docs/observability.md lists the keys. */
    @SuppressWarnings("unchecked")
    public static List<Map<String, Object>> allStats() {
        return (List<Map<String, Object>>) Json.read(Library.stats());
    }

    /** Returns a token: the password for PostgreSQL. */
    public AccessToken token() {
        return client.token();
    }

    /** As {@link #token}, without blocking. Cancelling the future ends this wait; the fetch continues for others. */
    public CompletableFuture<AccessToken> tokenAsync() {
        return client.tokenAsync();
    }

    /** Returns a role name and a token. */
    public Login login() {
        return client.login(-1);
    }

    /** As {@link #login}, without blocking. Cancelling the future ends this wait; the fetch continues for others. */
    public CompletableFuture<Login> loginAsync() {
        return client.loginAsync();
    }

    /**
     * Reports that a server refused a login with a token.
     *
     * @param token the refused token; null: the current one
     * @return whether there is a newer token to try once more; otherwise the server's error stands
     */
    public boolean invalidate(String token) {
        return client.invalidate(token, -1);
    }

    /** As {@link #invalidate}, without blocking. */
    public CompletableFuture<Boolean> invalidateAsync(String token) {
        return client.invalidateAsync(token);
    }

    /** Returns the statistics of this provider. Nothing is fetched. docs/observability.md lists the keys. */
    public Map<String, Object> stats() {
        return client.stats();
    }

    /** Ends the waits with the code {@code cancelled}. The cached token stays for others. */
    @Override
    public void close() {
        client.close();
    }

    /** Builds a {@link TokenProvider}. */
    public static final class Builder extends OptionsBuilder<Builder> {
        private Properties properties;

        private Builder() {}

        /**
         * Sets options by the keys of connection properties: those of azure-identity-extensions ({@code azure.*}) and {@code
         * pgentra.*}; docs/java.md lists them. They count where this builder has no option of its own. Other keys are ignored.
         */
        public Builder properties(Properties values) {
            properties = values;
            return this;
        }

        /**
         * Opens the provider. Nothing is fetched yet.
         *
         * @throws CredentialValueException an option is not valid
         */
        public TokenProvider build() {
            Settings all = properties == null
                    ? settings
                    : ConnectionOptions.merge(settings, properties, ConnectionOptions.Source.PROPERTIES);
            return new TokenProvider(all.open());
        }
    }
}
