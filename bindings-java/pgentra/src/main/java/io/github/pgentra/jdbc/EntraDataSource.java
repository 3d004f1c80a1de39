package io.github.pgentra.jdbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.Login;
import io.github.pgentra.OptionsBuilder;
import io.github.pgentra.internal.ConnectionOptions;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Json;
import io.github.pgentra.internal.Library;
import io.github.pgentra.internal.Settings;
import io.github.pgentra.internal.TokenClient;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.postgresql.Driver;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;
import org.postgresql.util.ServerErrorMessage;

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
 * <p>The URL and the properties can have the options of azure-identity-extensions ({@code azure.*}) and {@code pgentra.*};
 * docs/java.md lists them. A user and a password in the URL or the properties are used as they are, and no token is requested.
 * With {@code verify-full} and no {@code sslrootcert}, the certificate authorities of the Java runtime are used. Errors are
 * {@link SQLException}s with an {@link EntraException} as their cause: {@link java.sql.SQLTransientConnectionException} where
 * another attempt can succeed.
 */
public final class EntraDataSource implements DataSource, AutoCloseable {
    private static final Driver DRIVER = new Driver();

    /** libpq's keywords with another name in pgjdbc. The others have the same name, or none. */
    private static final Map<String, String> KEYWORDS = Map.of(
            "host", "PGHOST",
            "port", "PGPORT",
            "dbname", "PGDBNAME",
            "application_name", "ApplicationName",
            "connect_timeout", "connectTimeout");

    private final Properties properties;
    private final Settings settings;
    private final boolean allowInsecureTransport;
    private final boolean requireEntra;
    private final boolean ignorePassword;
    /** The variable of Service Connector that has the user of the properties, or null. */
    private final String userVariable;
    /** The variables of Service Connector that were not used, for the explanation of a login error. */
    private final String unusedVariables;

    private final TokenClient client;
    private volatile PrintWriter logWriter;
    private volatile int loginTimeout;

    private EntraDataSource(Builder builder, Properties properties, Settings settings, String userVariable) {
        this.properties = properties;
        this.settings = settings;
        this.userVariable = userVariable;
        allowInsecureTransport = builder.allowInsecureTransport;
        requireEntra = builder.requireEntra;
        ignorePassword = builder.ignorePassword;
        unusedVariables = builder.serviceConnector != null ? null : connectorVariables(settings);
        client = settings.open();
    }

    /** Returns a builder for a URL such as {@code jdbc:postgresql://HOST/DATABASE?sslmode=verify-full}. */
    public static Builder builder(String url) {
        return new Builder(Objects.requireNonNull(url, "url"));
    }

    /** Returns a builder without a URL, for {@link Builder#serviceConnector()}. */
    public static Builder builder() {
        return new Builder(null);
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
        Properties given = flat(properties);
        if (user != null) {
            given.setProperty("user", user);
        }
        if (password != null && !password.isEmpty()) {
            given.setProperty("password", password);
        }
        if (loginTimeout > 0) {
            given.setProperty("loginTimeout", Integer.toString(loginTimeout));
        }
        try {
            return connect(given, userVariable != null && user == null);
        } catch (EntraException e) {
            throw SqlErrors.of(e);
        }
    }

    private Connection connect(Properties given, boolean isConnectorUser) throws SQLException {
        Map<String, Object> plan = plan(given);
        Object mode = plan.get("sslmode");
        if (mode != null) {
            given.setProperty("sslmode", mode.toString());
        }
        Deadline deadline = new Deadline(given);
        if (!Boolean.TRUE.equals(plan.get("uses_entra"))) {
            return open(given, deadline);
        }
        // Encryption by GSSAPI would replace TLS.
        given.setProperty("gssEncMode", "disable");
        useSystemAuthorities(given);
        Object planned = plan.get("user");
        for (int attempt = 1; ; attempt++) {
            // With a user, no role is derived: the token may name none.
            Login login = planned == null ? client.login(deadline.leftMs()) : null;
            String user = login == null ? planned.toString() : login.user();
            String token = login == null ? client.token(deadline.leftMs()).token() : login.password();
            given.setProperty("user", user);
            given.setProperty("password", token);
            try {
                return open(given, deadline);
            } catch (PSQLException e) {
                if (!isLoginError(e)) {
                    throw e;
                }
                boolean again = attempt == 1
                        && Library.isRetriable(e.getSQLState(), serverMessage(e))
                        && client.invalidate(token, deadline.leftMs());
                if (!again) {
                    String source = login != null
                            ? login.userSource()
                            : isConnectorUser ? userVariable : String.valueOf(plan.get("user_source"));
                    throw explained(e, user, source, token, plan.get("host"));
                }
            }
        }
    }

    private Map<String, Object> plan(Properties given) {
        Map<String, Object> arguments = new LinkedHashMap<>();
        arguments.put("host", given.getProperty("PGHOST"));
        arguments.put("port", given.getProperty("PGPORT"));
        arguments.put("user", given.getProperty("user", (String) settings.get("user")));
        arguments.put("password", given.getProperty("password"));
        arguments.put("sslmode", modeOrNull(given));
        Map<String, Object> request = Tls.request(arguments);
        // pgjdbc reads no variables, but PGUSER counts in every language.
        Map<String, Object> variables = settings.connectionEnvironment();
        variables.keySet().retainAll(Set.of("PGUSER"));
        request.put("environment", variables);
        request.put("has_credential", settings.credential() != null);
        request.put("require_entra", requireEntra);
        request.put("ignore_password", ignorePassword);
        request.put("allow_insecure_transport", allowInsecureTransport);
        Map<String, Object> plan = Library.planConnection(request);
        logWarnings(plan);
        return plan;
    }

    private static void logWarnings(Map<String, Object> plan) {
        if (plan.get("warnings") instanceof List<?> warnings) {
            for (Object warning : warnings) {
                System.getLogger("pgentra").log(System.Logger.Level.WARNING, String.valueOf(warning));
            }
        }
    }

    private static Properties flat(Properties properties) {
        Properties flat = new Properties();
        for (String name : properties.stringPropertyNames()) {
            flat.setProperty(name, properties.getProperty(name));
        }
        return flat;
    }

    /** The mode that the properties set; null if they set none. */
    private static String modeOrNull(Properties given) {
        String mode = Tls.mode(given);
        return mode.equals(Tls.DEFAULT) && given.getProperty("sslmode") == null ? null : mode;
    }

    /** Without a file pgjdbc verifies with {@code ~/.postgresql/root.crt} alone. */
    private static void useSystemAuthorities(Properties given) {
        if (!given.getProperty("sslmode", "").toLowerCase(Locale.ROOT).startsWith("verify-")
                || List.of("sslrootcert", "sslfactory", "sslcert", "sslkey").stream()
                        .anyMatch(name -> given.getProperty(name) != null)) {
            return;
        }
        String folder = System.getenv("APPDATA");
        Path file = folder != null
                ? Path.of(folder, "postgresql", "root.crt")
                : Path.of(System.getProperty("user.home"), ".postgresql", "root.crt");
        if (!Files.exists(file)) {
            given.setProperty("sslfactory", "org.postgresql.ssl.DefaultJavaSSLFactory");
        }
    }

    /** The end of {@code loginTimeout}, which counts for the token and the connection together. */
    private static final class Deadline {
        private final int limitMs;
        private final long start = System.nanoTime();

        private Deadline(Properties given) {
            limitMs = EntraAuthenticationPlugin.timeoutMs(given);
        }

        /** The rest in milliseconds, or -1 without a limit. */
        private int leftMs() {
            return limitMs < 0 ? -1 : (int) Math.max(1, limitMs - (System.nanoTime() - start) / 1_000_000);
        }
    }

    /** Opens a connection by the properties alone, because those of a URL would replace them. */
    private static Connection open(Properties given, Deadline deadline) throws SQLException {
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
            if (!ConnectionOptions.isOption(name)) {
                rest.setProperty(name, given.getProperty(name));
            }
        }
        if (deadline.leftMs() >= 0) {
            rest.setProperty("loginTimeout", Double.toString(deadline.leftMs() / 1000.0));
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

    private SQLException explained(PSQLException refused, String user, String source, String token, Object host) {
        String explanation = Library.explain(
                refused.getSQLState(),
                serverMessage(refused),
                user,
                source,
                token,
                host == null ? null : host.toString(),
                unusedVariables);
        return explanation.isEmpty() ? refused : new EntraLoginException(refused, explanation);
    }

    private static String connectorVariables(Settings settings) {
        Map<String, Object> variables = settings.allVariables();
        variables.keySet().removeIf(name -> !name.startsWith("AZURE_POSTGRESQL_")
                && !name.startsWith("POSTGRESQLCONNSTR_AZURE_POSTGRESQL_"));
        return variables.isEmpty() ? null : Json.write(variables);
    }

    /** The server's error with the lines that explain it. */
    private static final class EntraLoginException extends PSQLException {
        private static final long serialVersionUID = 1L;

        private EntraLoginException(PSQLException refused, String explanation) {
            super(refused.getMessage() + "\n" + explanation, PSQLState.INVALID_PASSWORD, refused);
        }

        @Override
        public String getSQLState() {
            return ((SQLException) getCause()).getSQLState();
        }

        @Override
        public ServerErrorMessage getServerErrorMessage() {
            return ((PSQLException) getCause()).getServerErrorMessage();
        }
    }

    /** Returns the statistics of the tokens. Nothing is fetched. docs/observability.md lists the keys. */
    public Map<String, Object> stats() {
        return client.stats();
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
        private boolean allowInsecureTransport;
        private boolean requireEntra;
        private boolean ignorePassword;
        private Object serviceConnector;

        private Builder(String url) {
            this.url = url;
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

        /** Whether a password in the settings is dropped, such as a placeholder that a pool demands. Default: false. */
        public Builder ignorePassword(boolean ignored) {
            ignorePassword = ignored;
            return this;
        }

        /**
         * Takes server, database, role and identity from the variables of Azure Service Connector, the only connection that is
         * set. Settings of the URL win. docs/service-connector.md describes the variables.
         */
        public Builder serviceConnector() {
            serviceConnector = true;
            return this;
        }

        /**
         * As {@link #serviceConnector()}, if there are several connections.
         *
         * @param name the connection's name, or the prefix of its variables
         */
        public Builder serviceConnector(String name) {
            serviceConnector = Objects.requireNonNull(name, "name");
            return this;
        }

        /**
         * Builds the data source. Nothing is fetched yet.
         *
         * @throws EntraException an option is not valid
         */
        public EntraDataSource build() {
            Properties read = url == null ? added : Driver.parseURL(url, added);
            if (read == null || url == null && serviceConnector == null) {
                // The URL may hold a password.
                throw Errors.create(
                        Errors.INVALID_CONNECTION,
                        url == null ? "the data source has no URL" : "the URL is not one of pgjdbc",
                        "Write jdbc:postgresql://HOST/DATABASE?sslmode=verify-full.");
            }
            Properties properties = flat(read);
            properties.remove("authenticationPluginClassName");
            allowInsecureTransport |= Boolean.TRUE.equals(ConnectionOptions.flag(properties, "pgentra.allowInsecureTransport"));
            requireEntra |= Boolean.TRUE.equals(ConnectionOptions.flag(properties, "pgentra.requireEntra"));
            ignorePassword |= Boolean.TRUE.equals(ConnectionOptions.flag(properties, "pgentra.ignorePassword"));
            Settings merged = settings.copy();
            Map<String, Object> plan = serviceConnector == null ? null : connect(properties, merged);
            Properties ofUrl = url == null ? new Properties() : Driver.parseURL(url, new Properties());
            // A name in both places counts as one of the URL, which wins.
            boolean inUrl = ofUrl == null || ofUrl.getProperty(ConnectionOptions.CLASS_NAME) != null;
            merged = ConnectionOptions.merge(
                    merged,
                    properties,
                    inUrl ? ConnectionOptions.Source.URL : ConnectionOptions.Source.PROPERTIES);
            Object source = plan == null ? null : plan.get("user_source");
            String variable = source != null && source.toString().startsWith("variable ") ? source.toString() : null;
            return new EntraDataSource(this, properties, merged, variable);
        }

        /** Adds the settings of Service Connector's variables to the properties, and its credential to the settings. */
        private Map<String, Object> connect(Properties properties, Settings merged) {
            Map<String, Object> arguments = new LinkedHashMap<>();
            // Without a URL, the driver's own default is not a host that the application gave.
            if (url != null && url.matches("(?i)jdbc:postgresql://[^/?].*")) {
                arguments.put("host", hostsWithPorts(properties));
            }
            for (String name : List.of("user", "password", "sslrootcert")) {
                arguments.put(name, properties.getProperty(name));
            }
            arguments.put("sslmode", modeOrNull(properties));
            Map<String, Object> request = Tls.request(arguments);
            request.put("hosts_with_ports", true);
            request.put("environment", merged.allVariables());
            request.put("service_connector", serviceConnector);
            request.put("has_credential", merged.credential() != null);
            request.put("require_entra", requireEntra);
            request.put("ignore_password", ignorePassword);
            request.put("allow_insecure_transport", allowInsecureTransport);
            Map<String, Object> plan = Library.planConnection(request);
            logWarnings(plan);
            @SuppressWarnings("unchecked")
            Map<String, Object> found = (Map<String, Object>) plan.get("settings");
            found.remove("authenticationPluginClassName");
            found.forEach((keyword, value) -> {
                String name = KEYWORDS.getOrDefault(keyword, keyword);
                // A host without a URL is the driver's default.
                if (keyword.equals("host") || keyword.equals("port") || keyword.equals("dbname")
                        || properties.getProperty(name) == null) {
                    properties.setProperty(name, value.toString());
                }
            });
            if (plan.get("user") != null) {
                properties.setProperty("user", plan.get("user").toString());
            }
            if (plan.get("sslmode") != null) {
                properties.setProperty("sslmode", plan.get("sslmode").toString());
            }
            if (plan.get("credential") instanceof Map<?, ?> credential) {
                merged.credential(ConnectionOptions.credential(Json.object(Json.write(credential))));
            }
            return plan;
        }

        private static String hostsWithPorts(Properties properties) {
            String[] hosts = properties.getProperty("PGHOST", "").split(",");
            String[] ports = properties.getProperty("PGPORT", "").split(",");
            StringBuilder joined = new StringBuilder();
            for (int i = 0; i < hosts.length; i++) {
                boolean isAddress = hosts[i].contains(":") && !hosts[i].startsWith("[");
                joined.append(i == 0 ? "" : ",").append(isAddress ? "[" + hosts[i] + "]" : hosts[i]);
                if (i < ports.length && !ports[i].isEmpty()) {
                    joined.append(':').append(ports[i]);
                }
            }
            return joined.toString();
        }
    }
}
