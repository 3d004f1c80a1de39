package io.github.pgentra.jdbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.Login;
import io.github.pgentra.OptionsBuilder;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Library;
import io.github.pgentra.internal.Settings;
import io.github.pgentra.internal.TokenClient;
import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.postgresql.Driver;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;

/**
 * A {@link DataSource} whose connections log in with an Entra identity: it derives the role from the token where no user is
 * given, requires TLS, and tries once more with a newer token when the server refuses one.
 *
 * <pre>{@code
 * var source = EntraDataSource
 *         .builder("jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full")
 *         .credential(new ManagedIdentityCredentialBuilder().build())
 *         .build();
 * }</pre>
 *
 * <p>A password in the URL or the properties is used as it is, and no token is requested. Errors are {@link SQLException}s
 * with an {@link EntraException} as their cause: {@link java.sql.SQLTransientConnectionException} where another attempt can
 * succeed.
 */
public final class EntraDataSource implements DataSource, AutoCloseable {
    private static final Driver DRIVER = new Driver();

    private final Properties properties;
    private final Settings settings;
    private final boolean allowInsecureTransport;
    private final boolean requireEntra;
    private final TokenClient client;
    private volatile PrintWriter logWriter;
    private volatile int loginTimeout;

    private EntraDataSource(Builder builder, Settings settings) {
        properties = builder.properties;
        this.settings = settings;
        allowInsecureTransport = builder.allowInsecureTransport
                || Boolean.TRUE.equals(PluginOptions.flag(properties, "pgentra.allowInsecureTransport"));
        requireEntra = builder.requireEntra
                || Boolean.TRUE.equals(PluginOptions.flag(properties, "pgentra.requireEntra"));
        client = settings.open();
    }

    /** Returns a builder for a URL such as {@code jdbc:postgresql://HOST/DATABASE?sslmode=verify-full}. */
    public static Builder builder(String url) {
        return new Builder(url);
    }

    @Override
    public Connection getConnection() throws SQLException {
        return getConnection(null, null);
    }

    /**
     * Connects as a role.
     *
     * @param user the role; null: that of the URL, {@code PGUSER}, or the token's
     * @param password null: a token; otherwise it is used as it is
     */
    @Override
    public Connection getConnection(String user, String password) throws SQLException {
        Properties given = new Properties();
        for (String name : properties.stringPropertyNames()) {
            given.setProperty(name, properties.getProperty(name));
        }
        if (user != null) {
            given.setProperty("user", user);
        }
        if (password != null && !password.isEmpty()) {
            given.setProperty("password", password);
        }
        given.remove("authenticationPluginClassName");
        if (loginTimeout > 0) {
            given.setProperty("loginTimeout", Integer.toString(loginTimeout));
        }
        try {
            return connect(given);
        } catch (EntraException e) {
            throw SqlErrors.of(e);
        }
    }

    private Connection connect(Properties given) throws SQLException {
        Map<String, Object> plan = plan(given);
        Object mode = plan.get("sslmode");
        if (mode != null) {
            given.setProperty("sslmode", mode.toString());
        }
        if (!Boolean.TRUE.equals(plan.get("uses_entra"))) {
            return open(given);
        }
        // Encryption by GSSAPI would replace TLS.
        given.setProperty("gssEncMode", "disable");
        Object planned = plan.get("user");
        Login login = client.login(timeoutMs(given));
        SQLException refused = null;
        for (int attempt = 1; ; attempt++) {
            String user = planned != null ? planned.toString() : login.user();
            given.setProperty("user", user);
            given.setProperty("password", login.password());
            try {
                return open(given);
            } catch (PSQLException e) {
                if (!isLoginError(e)) {
                    throw e;
                }
                refused = e;
                boolean again = attempt == 1
                        && Library.isRetriable(e.getSQLState(), serverMessage(e))
                        && client.invalidate(login.password(), timeoutMs(given));
                if (!again) {
                    String source = planned != null ? String.valueOf(plan.get("user_source")) : login.userSource();
                    throw explained(refused, user, source, login.password(), plan.get("host"));
                }
                login = client.login(timeoutMs(given));
            }
        }
    }

    private Map<String, Object> plan(Properties given) {
        Map<String, Object> arguments = new LinkedHashMap<>();
        arguments.put("host", given.getProperty("PGHOST"));
        arguments.put("port", given.getProperty("PGPORT"));
        arguments.put("dbname", given.getProperty("PGDBNAME"));
        arguments.put("user", given.getProperty("user", (String) settings.get("user")));
        arguments.put("password", given.getProperty("password"));
        arguments.put("sslmode", modeOrNull(given));
        Map<String, Object> request = new LinkedHashMap<>();
        request.put("arguments", arguments);
        request.put("environment", environment());
        request.put("has_credential", settings.credential() != null);
        request.put("require_entra", requireEntra);
        request.put("allow_insecure_transport", allowInsecureTransport);
        Map<String, Object> plan = Library.planConnection(request);
        if (plan.get("warnings") instanceof List<?> warnings) {
            for (Object warning : warnings) {
                System.getLogger("pgentra").log(System.Logger.Level.WARNING, String.valueOf(warning));
            }
        }
        return plan;
    }

    /** pgjdbc reads no variables but {@code PGUSER}'s place is the same in every language. */
    private Map<String, Object> environment() {
        Map<String, Object> variables = settings.connectionEnvironment();
        variables.keySet().retainAll(List.of("PGUSER"));
        return variables;
    }

    private static String modeOrNull(Properties given) {
        String mode = EntraAuthenticationPlugin.sslmode(given);
        return mode.equals("prefer") && given.getProperty("sslmode") == null ? null : mode;
    }

    private int timeoutMs(Properties given) {
        String limit = given.getProperty("loginTimeout", "0");
        try {
            double seconds = Double.parseDouble(limit);
            // The error needs a part of the limit to reach the caller.
            return seconds > 0 ? (int) Math.max(1, seconds * 1000 - Math.min(1000, seconds * 100)) : -1;
        } catch (NumberFormatException e) {
            return -1;
        }
    }

    /** Opens a connection by the properties alone, because those of a URL would replace them. */
    private static Connection open(Properties given) throws SQLException {
        StringBuilder url = new StringBuilder("jdbc:postgresql://");
        String[] hosts = given.getProperty("PGHOST", "localhost").split(",");
        String[] ports = given.getProperty("PGPORT", "5432").split(",");
        for (int i = 0; i < hosts.length; i++) {
            String port = ports[Math.min(i, ports.length - 1)];
            // Other characters would begin another part of the URL, such as its parameters.
            if (!hosts[i].matches("[^/?#&@\\s]+") || !port.matches("\\d+")) {
                throw Errors.create(Errors.INVALID_CONNECTION, "the host or the port is not valid", "Correct PGHOST and PGPORT.");
            }
            String host = hosts[i].contains(":") && !hosts[i].startsWith("[") ? "[" + hosts[i] + "]" : hosts[i];
            url.append(i == 0 ? "" : ",").append(host).append(':').append(port);
        }
        url.append('/');
        Properties rest = new Properties();
        for (String name : given.stringPropertyNames()) {
            if (!name.startsWith("azure.") && !name.startsWith("pgentra.")) {
                rest.setProperty(name, given.getProperty(name));
            }
        }
        Connection connection = DRIVER.connect(url.toString(), rest);
        return Objects.requireNonNull(connection, "connection");
    }

    private static boolean isLoginError(SQLException e) {
        return e.getSQLState() != null && e.getSQLState().startsWith("28");
    }

    private static String serverMessage(PSQLException e) {
        return e.getServerErrorMessage() == null ? e.getMessage() : e.getServerErrorMessage().getMessage();
    }

    private static SQLException explained(
            SQLException refused, String user, String source, String token, Object host) {
        String message = refused instanceof PSQLException e ? serverMessage(e) : refused.getMessage();
        String explanation = Library.explain(
                refused.getSQLState(), message, user, source, token, host == null ? null : host.toString());
        return explanation.isEmpty() ? refused : new EntraLoginException(refused, explanation);
    }

    /** The server's error with the lines that explain it. */
    private static final class EntraLoginException extends PSQLException {
        private static final long serialVersionUID = 1L;

        private EntraLoginException(SQLException refused, String explanation) {
            super(refused.getMessage() + "\n" + explanation, PSQLState.INVALID_PASSWORD, refused);
        }

        @Override
        public String getSQLState() {
            return ((SQLException) getCause()).getSQLState();
        }
    }

    @Override
    public PrintWriter getLogWriter() {
        return logWriter;
    }

    @Override
    public void setLogWriter(PrintWriter out) {
        logWriter = out;
    }

    @Override
    public void setLoginTimeout(int seconds) {
        loginTimeout = seconds;
    }

    @Override
    public int getLoginTimeout() {
        return loginTimeout;
    }

    @Override
    public Logger getParentLogger() {
        return Logger.getLogger("pgentra");
    }

    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        if (type.isInstance(this)) {
            return type.cast(this);
        }
        throw new SQLException("EntraDataSource is not a wrapper for " + type.getName());
    }

    @Override
    public boolean isWrapperFor(Class<?> type) {
        return type.isInstance(this);
    }

    /** Ends the waits for tokens. Open connections stay open. */
    @Override
    public void close() {
        client.close();
    }

    /** Builds an {@link EntraDataSource}. */
    public static final class Builder extends OptionsBuilder<Builder> {
        private final String url;
        private final Properties added = new Properties();
        private Properties properties;
        private boolean allowInsecureTransport;
        private boolean requireEntra;

        private Builder(String url) {
            this.url = Objects.requireNonNull(url, "url");
        }

        /** Sets connection properties of pgjdbc. Those of the URL win. */
        public Builder properties(Properties values) {
            for (String name : values.stringPropertyNames()) {
                added.setProperty(name, values.getProperty(name));
            }
            return this;
        }

        /** Allows to send a token over a connection without TLS. Default: false. */
        public Builder allowInsecureTransport(boolean allowed) {
            allowInsecureTransport = allowed;
            return this;
        }

        /** Whether a password in the settings is an error. Default: false. */
        public Builder requireEntra(boolean required) {
            requireEntra = required;
            return this;
        }

        /**
         * Builds the data source. Nothing is fetched yet.
         *
         * @throws EntraException an option is not valid
         */
        public EntraDataSource build() {
            properties = Driver.parseURL(url, added);
            if (properties == null) {
                // The URL may hold a password.
                throw Errors.create(
                        Errors.INVALID_CONNECTION,
                        "the URL is not one of pgjdbc",
                        "Write jdbc:postgresql://HOST/DATABASE?sslmode=verify-full.");
            }
            Properties flat = new Properties();
            for (String name : properties.stringPropertyNames()) {
                flat.setProperty(name, properties.getProperty(name));
            }
            properties = flat;
            boolean inUrl = url.contains("azure.tokenCredentialProviderClassName");
            Settings read = PluginOptions.read(properties, !inUrl);
            Settings merged = settings.copy();
            for (String key : List.of(
                    "host", "fallback_username", "management_lookup", "mode", "ca_file", "cache", "scope", "timeout")) {
                if (merged.get(key) == null) {
                    merged.put(key, read.get(key));
                }
            }
            if (merged.credential() == null) {
                merged.credential(read.credential());
            }
            return new EntraDataSource(this, merged);
        }
    }
}
