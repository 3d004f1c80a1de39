package io.github.pgentra.jdbc;

import io.github.pgentra.AccessToken;
import io.github.pgentra.EntraException;
import io.github.pgentra.internal.ConnectionOptions;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Json;
import io.github.pgentra.internal.Library;
import io.github.pgentra.internal.TokenClient;
import java.sql.DriverManager;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.postgresql.plugin.AuthenticationPlugin;
import org.postgresql.plugin.AuthenticationRequestType;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;

/**
 * The plugin for pgjdbc's connection property {@code authenticationPluginClassName}: it returns an Entra token as the password.
 *
 * <pre>{@code
 * jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full&user=app-mi
 *     &authenticationPluginClassName=io.github.pgentra.jdbc.EntraAuthenticationPlugin
 * }</pre>
 *
 * <p>The driver sends the user before it asks the plugin, so {@code user} must be set; {@link EntraDataSource} derives it from
 * the token. The token is refused over a connection without TLS, unless the server is local. A password in the connection's
 * properties is not used. Only {@link PSQLException}s are thrown, with an {@link EntraException} as their cause: 08001 where
 * another attempt can succeed, else 08004.
 */
public final class EntraAuthenticationPlugin implements AuthenticationPlugin {
    /** More than any program has; beyond it a program makes up its options. */
    private static final int MOST_ENTRIES = 1000;

    private static final Map<Key, Entry> ENTRIES = new ConcurrentHashMap<>();

    private final Properties properties;

    /**
     * Called by the driver.
     *
     * @param properties the connection's properties
     */
    public EntraAuthenticationPlugin(Properties properties) {
        this.properties = properties;
    }

    @Override
    public char[] getPassword(AuthenticationRequestType type) throws PSQLException {
        try {
            if (type != AuthenticationRequestType.CLEARTEXT_PASSWORD) {
                throw Errors.create(
                        Errors.INVALID_CONNECTION,
                        "the server requests " + type + " and not the password in clear text, so the role is not an Entra"
                                + " role",
                        "Connect as a role that was created with pgaadauth_create_principal.");
            }
            Entry entry = entry();
            AccessToken token = entry.client.cachedToken();
            if (token == null) {
                token = entry.client.token(timeoutMs(properties));
            }
            if (!entry.isUserChecked.get()) {
                entry.checkUser(properties, token);
            }
            return token.token().toCharArray();
        } catch (EntraException e) {
            throw failure(e);
        } catch (Throwable e) {
            // The driver would report another exception as its own defect.
            throw new PSQLException("pgentra failed: " + e, PSQLState.CONNECTION_UNABLE_TO_CONNECT, e);
        }
    }

    private static PSQLException failure(EntraException error) {
        // Not 28000: with sslmode=prefer the driver would then try again without TLS.
        PSQLState state =
                error.isTransient() ? PSQLState.CONNECTION_UNABLE_TO_CONNECT : PSQLState.CONNECTION_REJECTED;
        return new PSQLException(error.getMessage(), state, error);
    }

    /** The time for a token within the driver's {@code loginTimeout}, or -1 if it has none. */
    static int timeoutMs(Properties properties) {
        double seconds;
        try {
            seconds = Double.parseDouble(properties.getProperty("loginTimeout", "0"));
        } catch (NumberFormatException e) {
            // The driver refuses it.
            return -1;
        }
        if (seconds <= 0) {
            seconds = DriverManager.getLoginTimeout();
        }
        // The error needs a part of the limit to reach the caller.
        double milliseconds = seconds * 1000 - Math.min(1000, seconds * 100);
        return seconds > 0 ? (int) Math.max(1, Math.min(milliseconds, Integer.MAX_VALUE)) : -1;
    }

    private Entry entry() {
        Key key = new Key(properties);
        Entry entry = ENTRIES.get(key);
        if (entry != null && !ConnectionOptions.hasUnknown(properties)) {
            return entry;
        }
        ConnectionOptions.checkNames(properties);
        if (ENTRIES.size() >= MOST_ENTRIES) {
            ENTRIES.clear();
        }
        return ENTRIES.computeIfAbsent(key, absent -> open());
    }

    private Entry open() {
        // The connection is open already, so its mode cannot be raised here.
        Tls.check(properties);
        checkPassword();
        for (String name : List.of("pgentra.fallbackUsername", "pgentra.managementLookup")) {
            if (properties.getProperty(name) != null) {
                ConnectionOptions.warn("The connection property " + name + " has no effect in the plugin, because the driver sends"
                        + " the user before it asks for the password. Use EntraDataSource.");
            }
        }
        return new Entry(
                ConnectionOptions.read(properties, null, ConnectionOptions.Source.PLUGIN, null).open());
    }

    /** The driver uses the plugin's password in place of one in the properties. */
    private void checkPassword() {
        String password = properties.getProperty("password");
        if (password == null || password.isEmpty()) {
            return;
        }
        boolean required = Boolean.TRUE.equals(ConnectionOptions.flag(properties, "pgentra.requireEntra"));
        Map<String, Object> arguments = new LinkedHashMap<>();
        arguments.put("host", properties.getProperty("PGHOST"));
        arguments.put("user", properties.getProperty("user"));
        arguments.put("password", "given");
        arguments.put("sslmode", "require");
        Map<String, Object> request = Tls.request(arguments);
        request.put("require_entra", required);
        request.put("ignore_password", !required);
        Library.planConnection(request);
    }

    private static final class Entry {
        private final TokenClient client;
        private final AtomicBoolean isUserChecked = new AtomicBoolean();

        private Entry(TokenClient client) {
            this.client = client;
        }

        /** The driver sends the operating system's user where none is given; the token may name another role. */
        private void checkUser(Properties properties, AccessToken token) {
            if (!isUserChecked.compareAndSet(false, true)) {
                return;
            }
            String user = properties.getProperty("user");
            if (user == null || !user.equals(System.getProperty("user.name"))) {
                return;
            }
            try {
                Object role = Json.object(Library.describeToken(token.token())).get("role");
                Object name = role instanceof Map<?, ?> map ? map.get("name") : null;
                if (name != null && !name.equals(user)) {
                    ConnectionOptions.warn("The connection logs in as \"" + user + "\", the operating system's user, and the token"
                            + " names the role \"" + name + "\". Set user=" + name + " in the URL, or use EntraDataSource.");
                }
            } catch (EntraException e) {
                // The server says what is wrong with the token.
            }
        }
    }

    /** The values of {@link ConnectionOptions#KEYS}. With a class of the application, its class loader and all properties. */
    private static final class Key {
        private static final int CLASS_INDEX = Arrays.asList(ConnectionOptions.KEYS).indexOf(ConnectionOptions.CLASS_NAME);

        private final String[] values;
        private final int hash;
        private final ClassLoader loader;
        private final Map<String, String> all;

        private Key(Properties properties) {
            values = new String[ConnectionOptions.KEYS.length];
            for (int i = 0; i < values.length; i++) {
                values[i] = properties.getProperty(ConnectionOptions.KEYS[i]);
            }
            hash = Arrays.hashCode(values);
            if (values[CLASS_INDEX] == null) {
                loader = null;
                all = null;
            } else {
                loader = ConnectionOptions.loader();
                all = new LinkedHashMap<>();
                properties.stringPropertyNames().forEach(name -> all.put(name, properties.getProperty(name)));
            }
        }

        @Override
        public int hashCode() {
            return hash;
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Key key
                    && Arrays.equals(values, key.values)
                    && loader == key.loader
                    && (all == null || all.equals(key.all));
        }
    }
}
