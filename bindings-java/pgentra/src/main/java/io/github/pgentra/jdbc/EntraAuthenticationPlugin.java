package io.github.pgentra.jdbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Library;
import io.github.pgentra.internal.Settings;
import io.github.pgentra.internal.TokenClient;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
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
 * the token. The token is refused over a connection without TLS, unless the server is local. Only {@link PSQLException}s are
 * thrown, with an {@link EntraException} as their cause.
 */
public final class EntraAuthenticationPlugin implements AuthenticationPlugin {
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
            return entry().client.token().token().toCharArray();
        } catch (EntraException e) {
            throw failure(e);
        } catch (LinkageError e) {
            throw new PSQLException(e.getMessage(), PSQLState.CONNECTION_REJECTED, e);
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

    private Entry entry() {
        String[] values = new String[PluginOptions.KEYS.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = properties.getProperty(PluginOptions.KEYS[i]);
        }
        Key key = new Key(values);
        Entry entry = ENTRIES.get(key);
        return entry != null ? entry : ENTRIES.computeIfAbsent(key, absent -> open());
    }

    private Entry open() {
        refuseWithoutTls();
        Settings settings = PluginOptions.read(properties, false);
        return new Entry(settings.open());
    }

    /** The connection is open already, so its mode cannot be raised here: one that core would raise is refused. */
    private void refuseWithoutTls() {
        String mode = sslmode(properties);
        Map<String, Object> arguments = new LinkedHashMap<>();
        arguments.put("host", properties.getProperty("PGHOST"));
        arguments.put("sslmode", mode);
        Map<String, Object> request = new LinkedHashMap<>();
        request.put("arguments", arguments);
        request.put("environment", Map.of());
        request.put(
                "allow_insecure_transport", PluginOptions.flag(properties, "pgentra.allowInsecureTransport"));
        Object required = Library.planConnection(request).get("sslmode");
        String encryption = properties.getProperty("gssEncMode", "disable");
        boolean gss = encryption.equalsIgnoreCase("prefer") || encryption.equalsIgnoreCase("require");
        if (required != null && !required.equals(mode) || gss && "require".equals(required)) {
            throw Errors.create(
                    Errors.INSECURE_TRANSPORT,
                    "sslmode=" + mode + " does not ensure TLS, so a token is not sent",
                    "Set sslmode=verify-full in the URL, or use EntraDataSource.");
        }
    }

    /** The mode in effect: pgjdbc's default is prefer, and {@code ssl} without a mode is verify-full. */
    static String sslmode(Properties properties) {
        String mode = properties.getProperty("sslmode");
        if (mode != null && !mode.isEmpty()) {
            return mode;
        }
        String ssl = properties.getProperty("ssl");
        return ssl != null && (ssl.isEmpty() || ssl.equalsIgnoreCase("true")) ? "verify-full" : "prefer";
    }

    private record Entry(TokenClient client) {}

    /** The values of {@link PluginOptions#KEYS}. */
    private static final class Key {
        private final String[] values;
        private final int hash;

        private Key(String[] values) {
            this.values = values;
            hash = Arrays.hashCode(values);
        }

        @Override
        public int hashCode() {
            return hash;
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Key key && Arrays.equals(values, key.values);
        }
    }
}
