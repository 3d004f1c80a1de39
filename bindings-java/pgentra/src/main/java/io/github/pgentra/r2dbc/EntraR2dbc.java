package io.github.pgentra.r2dbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Library;
import io.r2dbc.postgresql.PostgresqlConnectionFactoryProvider;
import io.r2dbc.postgresql.client.SSLMode;
import io.r2dbc.spi.ConnectionFactories;
import io.r2dbc.spi.ConnectionFactory;
import io.r2dbc.spi.ConnectionFactoryOptions;
import io.r2dbc.spi.Option;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;

/**
 * Logs in with r2dbc-postgresql: the driver requests user and token for each new connection.
 *
 * <pre>{@code
 * var provider = TokenProvider.builder().host("shop.postgres.database.azure.com").build();
 * var factory = EntraR2dbc.connectionFactory(
 *         ConnectionFactoryOptions.parse("r2dbc:postgresql://shop.postgres.database.azure.com/postgres?sslMode=verify-full"),
 *         provider);
 * }</pre>
 *
 * <p>A user in the options wins over the token's. A password in the options is used as it is. The driver's default, no TLS, is
 * raised to {@code require}; {@code disable} is refused, unless the server is local or the option
 * {@code pgentra.allowInsecureTransport} is true.
 */
public final class EntraR2dbc {
    private static final Option<Object> USER = Option.valueOf("user");
    private static final Option<Object> PASSWORD = Option.sensitiveValueOf("password");
    private static final Option<Object> ALLOW_INSECURE_TRANSPORT = Option.valueOf("pgentra.allowInsecureTransport");
    private static final Option<Object> SSL_MODE_ALIAS = Option.valueOf("sslmode");

    private EntraR2dbc() {}

    /** As {@link #apply(ConnectionFactoryOptions, TokenProvider)}, with the default credential and the host of the options. */
    public static ConnectionFactoryOptions apply(ConnectionFactoryOptions options) {
        return apply(options, TokenProvider.builder().host(String.join(",", hosts(options))).build());
    }

    /**
     * Returns the options with user, token and the TLS rule. {@link #decorate} adds the retry and the explanation of a login
     * error.
     *
     * @param options the options of r2dbc-postgresql, also behind the drivers {@code pool} and {@code proxy}
     * @param provider the provider; it stays the caller's to close
     * @throws EntraException another driver, or TLS is disabled for a server that is not local
     */
    public static ConnectionFactoryOptions apply(ConnectionFactoryOptions options, TokenProvider provider) {
        Objects.requireNonNull(provider, "provider");
        String driver = driver(options);
        if (!driver.equals("postgresql") && !driver.equals("postgres")) {
            throw Errors.create(
                    Errors.INVALID_CONNECTION,
                    "the R2DBC driver is " + driver + " and not postgresql",
                    "Use a URL that begins with r2dbc:postgresql://.");
        }
        Map<String, Object> plan = plan(options);
        ConnectionFactoryOptions.Builder builder = options.mutate();
        Object mode = plan.get("sslmode");
        if (mode != null && !mode.equals(sslMode(options)) && !isTunnel(options)) {
            builder.option(PostgresqlConnectionFactoryProvider.SSL_MODE, SSLMode.fromValue(mode.toString()));
        }
        if (!Boolean.TRUE.equals(plan.get("uses_entra"))) {
            return builder.build();
        }
        Object user = options.getValue(USER);
        boolean given = user != null && !"".equals(user);
        if (!given) {
            builder.option(USER, LoginAttempt.user(provider));
        }
        builder.option(PASSWORD, LoginAttempt.password(provider, given ? user.toString() : null, hosts(options)));
        return builder.build();
    }

    /**
     * Returns a connection factory with user, token, the TLS rule, and one retry of a login error with a newer token.
     *
     * @param options the options of r2dbc-postgresql
     * @param provider the provider; it stays the caller's to close
     */
    public static ConnectionFactory connectionFactory(ConnectionFactoryOptions options, TokenProvider provider) {
        return decorate(ConnectionFactories.get(apply(options, provider)), provider);
    }

    /**
     * Returns a connection factory that retries a login error once with a newer token, and otherwise explains it.
     *
     * @param factory a factory of options of {@link #apply(ConnectionFactoryOptions, TokenProvider)}, below a pool
     * @param provider the same provider
     */
    public static ConnectionFactory decorate(ConnectionFactory factory, TokenProvider provider) {
        return new EntraConnectionFactory(factory, provider);
    }

    /** The driver behind {@code pool} and {@code proxy}, whose protocol names it. */
    private static String driver(ConnectionFactoryOptions options) {
        String driver = String.valueOf(options.getValue(ConnectionFactoryOptions.DRIVER));
        Object protocol = options.getValue(ConnectionFactoryOptions.PROTOCOL);
        String rest = protocol == null ? "" : protocol.toString();
        while (driver.equals("pool") || driver.equals("proxy")) {
            int end = rest.indexOf(':');
            driver = end < 0 ? rest : rest.substring(0, end);
            rest = end < 0 ? "" : rest.substring(end + 1);
        }
        return driver;
    }

    private static Map<String, Object> plan(ConnectionFactoryOptions options) {
        Object password = options.getValue(PASSWORD);
        Map<String, Object> arguments = new LinkedHashMap<>();
        arguments.put("host", String.join(",", hosts(options)));
        arguments.put("sslmode", sslMode(options));
        // A supplier or a publisher of a password counts as one. Its value does not matter here.
        arguments.put("password", password == null || "".contentEquals(text(password)) ? null : "given");
        Map<String, Object> request = new LinkedHashMap<>();
        request.put("arguments", arguments);
        request.put("environment", Map.of());
        request.put("has_credential", true);
        Object allowed = options.getValue(ALLOW_INSECURE_TRANSPORT);
        request.put("allow_insecure_transport", allowed != null && Boolean.parseBoolean(allowed.toString()));
        Map<String, Object> plan = Library.planConnection(request);
        if (plan.get("warnings") instanceof List<?> warnings) {
            for (Object warning : warnings) {
                System.getLogger("pgentra").log(System.Logger.Level.WARNING, String.valueOf(warning));
            }
        }
        return plan;
    }

    private static CharSequence text(Object password) {
        return password instanceof CharSequence text ? text : "publisher";
    }

    private static boolean isTunnel(ConnectionFactoryOptions options) {
        return "tunnel".equals(givenMode(options));
    }

    private static String sslMode(ConnectionFactoryOptions options) {
        String mode = givenMode(options);
        if (mode != null) {
            // TLS from the first byte on, without verification.
            return mode.equals("tunnel") ? "require" : mode;
        }
        Object ssl = options.getValue(ConnectionFactoryOptions.SSL);
        return ssl != null && Boolean.parseBoolean(ssl.toString()) ? "verify-full" : null;
    }

    private static String givenMode(ConnectionFactoryOptions options) {
        Object mode = options.getValue(PostgresqlConnectionFactoryProvider.SSL_MODE);
        if (mode == null) {
            mode = options.getValue(SSL_MODE_ALIAS);
        }
        return mode == null ? null : mode.toString().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /** The hosts, without the ports that the protocol {@code failover} has there. */
    static List<String> hosts(ConnectionFactoryOptions options) {
        Object socket = options.getValue(PostgresqlConnectionFactoryProvider.SOCKET);
        if (socket != null) {
            return List.of(socket.toString());
        }
        Object host = options.getValue(ConnectionFactoryOptions.HOST);
        List<String> hosts = new ArrayList<>();
        for (String part : (host == null ? "localhost" : host.toString()).split(",")) {
            hosts.add(part.strip().replaceFirst("(?<=[^:]):\\d+$", ""));
        }
        return hosts;
    }
}
