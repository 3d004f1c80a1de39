package io.github.pgentra;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.pgentra.hikari.EntraCredentialsProvider;
import io.github.pgentra.identity.ManagedIdentityCredential;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.jdbc.EntraAuthenticationPlugin;
import io.github.pgentra.jdbc.EntraDataSource;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.postgresql.plugin.AuthenticationRequestType;
import org.postgresql.util.PSQLException;

@ExtendWith(Emulator.class)
class JdbcTest {
    private static final String PLUGIN =
            "&authenticationPluginClassName=io.github.pgentra.jdbc.EntraAuthenticationPlugin";

    static String currentUser(Connection connection) throws SQLException {
        try (connection;
                ResultSet result = connection.createStatement().executeQuery("select current_user")) {
            result.next();
            return result.getString(1);
        }
    }

    private static ManagedIdentityCredential identity(Emulator.Principal principal) {
        return new ManagedIdentityCredentialBuilder().clientId(principal.clientId()).build();
    }

    private static String plaintextUrl() {
        // A name that is not local for the rule, and that resolves to this machine.
        return Emulator.url().replaceFirst("//[^:]+:", "//0.0.0.0:").replaceFirst("\\?.*", "");
    }

    @Test
    void pluginLogsInAsTheUserOfTheUrl() throws SQLException {
        assertEquals("app-mi", currentUser(DriverManager.getConnection(Emulator.url() + "&user=app-mi" + PLUGIN)));
    }

    @Test
    void pluginWithManagedIdentityOptionLogsIn() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        String options = "&azure.managedIdentityEnabled=true&azure.clientId=" + principal.clientId();
        String url = Emulator.url() + "&user=" + principal.name() + options + PLUGIN;
        assertEquals(principal.name(), currentUser(DriverManager.getConnection(url)));
        assertEquals(principal.name(), currentUser(DriverManager.getConnection(url)));
        assertEquals(1, Emulator.requests(principal).size());
    }

    @Test
    void pluginWithClientSecretOptionsLogsIn() throws SQLException {
        Emulator.Principal principal = Emulator.add("service_principal");
        String options = "&azure.tenantId=" + Emulator.text("tenant_id") + "&azure.clientId=" + principal.clientId()
                + "&azure.clientSecret=" + principal.secret() + "&azure.authorityHost=" + Emulator.text("authority_host");
        String url = Emulator.url() + "&user=" + principal.name() + options + PLUGIN;
        assertEquals(principal.name(), currentUser(DriverManager.getConnection(url)));
    }

    @Test
    void pluginWithoutTlsSendsNothing() {
        Emulator.controlPostgres(Map.of("plaintext", true));
        for (String mode : List.of(
                "",
                "?sslmode=prefer",
                "?sslmode=allow",
                "?sslmode=disable",
                "?sslmode=DISABLE",
                "?sslmode=Prefer",
                "?ssl=false",
                "?ssl=true&sslmode=prefer")) {
            String url = plaintextUrl() + (mode.isEmpty() ? "?" : mode + "&") + "user=app-mi" + PLUGIN;
            SQLException error = assertThrows(SQLException.class, () -> DriverManager.getConnection(url), mode);
            EntraException cause = EntraException.find(error);
            assertEquals("insecure_transport", cause == null ? error.getMessage() : cause.code(), mode);
        }
        assertEquals(0, Emulator.plaintextBytes());
    }

    @Test
    void plaintextBytesAreCountedWhereItIsAllowed() throws SQLException {
        Emulator.controlPostgres(Map.of("plaintext", true));
        String url = plaintextUrl() + "?sslmode=disable&pgentra.allowInsecureTransport=true&user=app-mi" + PLUGIN;
        DriverManager.getConnection(url).close();
        assertTrue(Emulator.plaintextBytes() > 500);
    }

    @Test
    void pluginThrowsOnlySqlExceptions() {
        Properties properties = new Properties();
        properties.setProperty("PGHOST", "localhost");
        for (AuthenticationRequestType type : AuthenticationRequestType.values()) {
            if (type != AuthenticationRequestType.CLEARTEXT_PASSWORD) {
                var error = assertThrows(
                        PSQLException.class, () -> new EntraAuthenticationPlugin(properties).getPassword(type));
                assertEquals("08004", error.getSQLState());
            }
        }
        for (String key : List.of("azure.username", "azure.password", "azure.claims", "pgentra.bogus")) {
            Properties refused = new Properties();
            refused.setProperty("PGHOST", "localhost");
            refused.setProperty(key, "canary-value");
            var error = assertThrows(
                    PSQLException.class,
                    () -> new EntraAuthenticationPlugin(refused).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD));
            assertTrue(error.getMessage().contains(key), error.getMessage());
            assertFalse(error.getMessage().contains("canary"), error.getMessage());
        }
    }

    @Test
    void pluginLoadsNoClassThatTheUrlNames() {
        Properties properties = new Properties();
        properties.setProperty("PGHOST", "localhost");
        properties.setProperty("azure.tokenCredentialProviderClassName", "io.github.pgentra.Nothing");
        var error = assertThrows(
                PSQLException.class,
                () -> new EntraAuthenticationPlugin(properties).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD));
        assertTrue(error.getMessage().contains("-Dpgentra.allowUrlClasses=true"), error.getMessage());
    }

    private static Properties properties(String... namesAndValues) {
        Properties properties = new Properties();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            properties.setProperty(namesAndValues[i], namesAndValues[i + 1]);
        }
        return properties;
    }

    private static PSQLException refused(Properties properties) {
        return assertThrows(
                PSQLException.class,
                () -> new EntraAuthenticationPlugin(properties).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD));
    }

    @Test
    void pluginCountsGssapiAsNoTls() {
        for (String mode : List.of("prefer", "REQUIRE")) {
            PSQLException error = refused(properties("PGHOST", "db.example", "sslmode", "verify-full", "gssEncMode", mode));
            assertEquals("insecure_transport", EntraException.find(error).code());
        }
        // Without a host the server is not known, so it counts as remote.
        assertEquals("insecure_transport", EntraException.find(refused(properties())).code());
    }

    @Test
    void pluginWarnsOnceOfTheOperatingSystemsUser() throws Exception {
        Emulator.Principal principal = Emulator.add("user");
        Properties options = properties(
                "PGHOST", "localhost",
                "user", System.getProperty("user.name"),
                "pgentra.credential",
                "{\"type\": \"static_token\", \"token\": \"" + Emulator.mint(principal.name(), Map.of()) + "\"}");
        try (Records records = Records.of("pgentra")) {
            for (int i = 0; i < 2; i++) {
                char[] token = new EntraAuthenticationPlugin(options).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
                assertTrue(token.length > 500);
            }
            assertEquals(1, records.messages().size(), records.messages().toString());
            assertTrue(records.messages().get(0).contains("user=" + principal.name()), records.messages().get(0));
        }
    }

    @Test
    void pluginReturnsANewArrayEachTime() throws Exception {
        Properties options = properties("PGHOST", "localhost", "azure.managedIdentityEnabled", "true");
        char[] first = new EntraAuthenticationPlugin(options).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
        String token = new String(first);
        // The driver wipes it.
        java.util.Arrays.fill(first, '\0');
        char[] second = new EntraAuthenticationPlugin(options).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
        assertEquals(token, new String(second));
    }

    @Test
    void pluginWithAnotherSecretUsesAnotherCredential() throws SQLException {
        Emulator.Principal principal = Emulator.add("service_principal");
        String url = Emulator.url() + "&user=" + principal.name() + PLUGIN + "&azure.tenantId=" + Emulator.text("tenant_id")
                + "&azure.clientId=" + principal.clientId() + "&azure.authorityHost=" + Emulator.text("authority_host")
                + "&azure.clientSecret=";
        SQLException error = assertThrows(SQLException.class, () -> DriverManager.getConnection(url + "canary"));
        assertEquals("authentication_failed", EntraException.find(error).code());
        assertEquals("08004", error.getSQLState());
        assertFalse(error.getMessage().contains("canary"));
        assertEquals(principal.name(), currentUser(DriverManager.getConnection(url + principal.secret())));
        assertThrows(SQLException.class, () -> DriverManager.getConnection(url + "canary"));
    }

    @Test
    void pluginIgnoresAPasswordUnlessItIsRefused() throws Exception {
        Properties options = properties("PGHOST", "localhost", "user", "app-mi", "password", "canary");
        assertTrue(new EntraAuthenticationPlugin(options).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD).length
                > 500);
        options.setProperty("pgentra.requireEntra", "true");
        PSQLException error = refused(options);
        assertTrue(error.getMessage().contains("requireEntra"), error.getMessage());
        assertFalse(error.getMessage().contains("canary"), error.getMessage());
    }

    @Test
    void pluginWaitsNoLongerThanLoginTimeout() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("connection", "black_hole"));
        Properties options = properties(
                "PGHOST", "localhost",
                "azure.managedIdentityEnabled", "true",
                "azure.clientId", principal.clientId(),
                "loginTimeout", "1");
        PSQLException error = refused(options);
        assertEquals("timeout", EntraException.find(error).code());
        assertEquals("08001", error.getSQLState());
        assertTrue(error.getMessage().contains("0.9"), error.getMessage());
        Emulator.clearFaults();
    }

    @Test
    void pluginUnknownOptionIsRefusedAlsoWhenTheRestIsKnown() throws Exception {
        Properties options = properties("PGHOST", "localhost", "azure.managedIdentityEnabled", "true");
        new EntraAuthenticationPlugin(options).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
        options.setProperty("pgentra.bogus", "x");
        assertTrue(refused(options).getMessage().contains("pgentra.bogus"));
    }

    @Test
    void pluginTableOfStates() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("status", 503));
        Properties options = properties(
                "PGHOST", "localhost",
                "azure.managedIdentityEnabled", "true",
                "azure.clientId", principal.clientId(),
                "loginTimeout", "3");
        PSQLException error = refused(options);
        assertEquals("08001", error.getSQLState());
        assertEquals(PSQLException.class, error.getClass());
        assertEquals("08004", refused(properties("PGHOST", "localhost", "pgentra.mode", "bogus")).getSQLState());
        Emulator.clearFaults();
    }

    @Test
    void dataSourceUsesTheDatabaseOfTheUrl() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (var source = EntraDataSource.builder(Emulator.url()).credential(identity(principal)).build();
                Connection connection = source.getConnection()) {
            assertEquals(Emulator.text("postgres", "database"), connection.getCatalog());
        }
    }

    @Test
    void dataSourceLoginErrorKeepsTheServersError() throws SQLException {
        try (var source = EntraDataSource.builder(Emulator.url() + "&user=nobody-here").build()) {
            PSQLException error = assertThrows(PSQLException.class, source::getConnection);
            assertEquals("28000", error.getServerErrorMessage().getSQLState());
        }
    }

    @Test
    void dataSourceTypesItsErrors() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("status", 400, "principal", principal.name()));
        var unknown = new ManagedIdentityCredentialBuilder().clientId("99999999-0000-0000-0000-00000000ffff").build();
        try (var source = EntraDataSource.builder(Emulator.url()).credential(unknown).build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            assertInstanceOf(java.sql.SQLInvalidAuthorizationSpecException.class, error);
            assertEquals("28000", error.getSQLState());
            assertInstanceOf(AuthenticationException.class, EntraException.find(new RuntimeException(error)));
        }
        try (var source = EntraDataSource.builder("jdbc:postgresql://db.example/d?sslmode=disable").build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            assertInstanceOf(SQLNonTransientConnectionException.class, error);
            assertEquals("08004", error.getSQLState());
        }
        assertEquals(null, EntraException.find(new RuntimeException()));
        Emulator.clearFaults();
    }

    @Test
    void dataSourceIgnoresAPassword() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        String url = Emulator.url() + "&user=" + principal.name() + "&password=placeholder";
        try (var source = EntraDataSource.builder(url).credential(identity(principal)).ignorePassword(true).build()) {
            assertEquals(principal.name(), currentUser(source.getConnection()));
        }
        try (var source = EntraDataSource.builder(url + "&pgentra.ignorePassword=true")
                .credential(identity(principal))
                .build()) {
            assertEquals(principal.name(), currentUser(source.getConnection()));
        }
        try (var source = EntraDataSource.builder(url).credential(identity(principal)).build()) {
            assertThrows(SQLException.class, source::getConnection);
        }
    }

    @Test
    void dataSourceVerifiesWithTheAuthoritiesOfJava() throws SQLException {
        String url = Emulator.url().replaceFirst("&sslrootcert=[^&]*", "");
        try (var source = EntraDataSource.builder(url).build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            StringBuilder text = new StringBuilder();
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                text.append(cause);
            }
            assertTrue(text.toString().contains("certification path"), text.toString());
        }
    }

    @Test
    void dataSourceReadsServiceConnector() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Map<String, String> variables = new java.util.HashMap<>(Emulator.environment());
        variables.put(
                "AZURE_POSTGRESQL_CONNECTIONSTRING",
                Emulator.url() + "&user=" + principal.name() + "&ApplicationName=shop&authenticationPluginClassName="
                        + "com.azure.identity.extensions.jdbc.postgresql.AzurePostgresqlAuthenticationPlugin");
        variables.put("AZURE_POSTGRESQL_CLIENTID", principal.clientId());
        try (Records records = Records.of("pgentra");
                var source = EntraDataSource.builder().serviceConnector().environment(variables).build();
                Connection connection = source.getConnection()) {
            assertEquals("shop", connection.getClientInfo("ApplicationName"));
            assertEquals(principal.name(), currentUser(connection));
            assertEquals(List.of(), records.messages());
        }
        assertEquals(1, Emulator.requests(principal).size());
        EntraException error = assertThrows(
                EntraException.class,
                () -> EntraDataSource.builder().serviceConnector("orders").environment(variables).build());
        assertTrue(error.getMessage().contains("orders"), error.getMessage());
        assertThrows(EntraException.class, () -> EntraDataSource.builder().environment(variables).build());
        variables.put("AZURE_POSTGRESQL_CONNECTIONSTRING", Emulator.url() + "&user=nobody-here");
        try (var source = EntraDataSource.builder().serviceConnector().environment(variables).build()) {
            SQLException refused = assertThrows(SQLException.class, source::getConnection);
            assertTrue(refused.getMessage().contains("AZURE_POSTGRESQL_CONNECTIONSTRING"), refused.getMessage());
        }
        try (var source = EntraDataSource.builder(Emulator.url() + "&user=nobody-here").environment(variables).build()) {
            SQLException refused = assertThrows(SQLException.class, source::getConnection);
            assertTrue(refused.getMessage().contains("AZURE_POSTGRESQL_"), refused.getMessage());
        }
    }

    @Test
    void dataSourceWithAUserNeedsNoRoleInTheToken() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (var source = EntraDataSource.builder(Emulator.url() + "&user=" + principal.name())
                .credential(identity(principal))
                .build()) {
            assertEquals(principal.name(), currentUser(source.getConnection()));
        }
        List<?> all = (List<?>) Emulator.object(Emulator.call("GET", "/requests", null)).get("requests");
        assertEquals(1, all.stream().filter(one -> principal.name().equals(Emulator.object(one).get("principal"))).count());
    }

    @Test
    void providerTakesPropertiesOfTheConnection() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Properties options = properties("azure.managedIdentityEnabled", "true", "azure.clientId", principal.clientId());
        try (var provider = TokenProvider.builder().properties(options).build()) {
            assertEquals(principal.name(), provider.login().user());
        }
    }

    @Test
    void dataSourceExplicitUserWins() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        System.setProperty("PGUSER", "nobody-here");
        try (var source = EntraDataSource.builder(Emulator.url()).credential(identity(principal)).build()) {
            assertEquals(principal.name(), currentUser(source.getConnection(principal.name(), null)));
        }
        try (var source = EntraDataSource.builder(Emulator.url())
                .properties(properties("user", principal.name()))
                .credential(identity(principal))
                .build()) {
            assertEquals(principal.name(), currentUser(source.getConnection()));
            assertEquals(1L, ((Number) source.stats().get("fetches")).longValue(), source.stats().toString());
        }
    }

    @Test
    void hikariProviderWithoutTlsSendsNothing() {
        Emulator.controlPostgres(Map.of("plaintext", true));
        try (var provider = TokenProvider.builder().build()) {
            for (String mode : List.of("", "?sslmode=prefer", "?sslmode=disable", "?sslmode=DISABLE")) {
                HikariConfig config = new HikariConfig();
                config.setJdbcUrl(plaintextUrl() + mode);
                config.setInitializationFailTimeout(1);
                config.setConnectionTimeout(1000);
                config.setCredentialsProvider(new EntraCredentialsProvider(provider, config));
                Exception error = assertThrows(Exception.class, () -> new HikariDataSource(config).close());
                EntraException cause = EntraException.find(error);
                assertEquals("insecure_transport", cause == null ? error.toString() : cause.code());
            }
            HikariConfig beans = new HikariConfig();
            beans.setDataSourceClassName("org.postgresql.ds.PGSimpleDataSource");
            beans.addDataSourceProperty("serverName", "0.0.0.0");
            beans.setInitializationFailTimeout(1);
            beans.setCredentialsProvider(new EntraCredentialsProvider(provider, beans));
            EntraException cause = EntraException.find(
                    assertThrows(Exception.class, () -> new HikariDataSource(beans).close()));
            assertEquals("insecure_transport", cause.code());
        }
        assertEquals(0, Emulator.plaintextBytes());
    }

    @Test
    void dataSourceDerivesTheRole() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (var source = EntraDataSource.builder(Emulator.url()).credential(identity(principal)).build()) {
            assertEquals(principal.name(), currentUser(source.getConnection()));
        }
    }

    @Test
    void dataSourceTakesPguser() throws SQLException {
        System.setProperty("PGUSER", "nobody-here");
        try (var source = EntraDataSource.builder(Emulator.url()).build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            assertTrue(error.getMessage().contains("role \"nobody-here\" does not exist"), error.getMessage());
        }
    }

    @Test
    void dataSourceExplainsALoginError() throws SQLException {
        try (var source = EntraDataSource.builder(Emulator.url() + "&user=nobody-here").build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            assertEquals("28000", error.getSQLState());
            assertTrue(error.getMessage().contains("pgaadauth_create_principal_with_oid"), error.getMessage());
            assertFalse(error.getMessage().contains("eyJ"));
        }
    }

    @Test
    void dataSourceWithoutTlsSendsNothing() throws SQLException {
        Emulator.controlPostgres(Map.of("plaintext", true));
        for (String mode : List.of(
                "", "?sslmode=prefer", "?sslmode=allow", "?sslmode=disable", "?sslmode=DISABLE", "?ssl=false")) {
            try (var source = EntraDataSource.builder(plaintextUrl() + mode).build()) {
                assertThrows(SQLException.class, source::getConnection, mode);
            }
        }
        String server = plaintextUrl().replaceFirst("jdbc:postgresql://", "");
        Properties host = new Properties();
        host.setProperty("PGHOST", server + "?sslmode=disable&x=");
        host.setProperty("PGPORT", "5432");
        try (var source = EntraDataSource.builder("jdbc:postgresql:///").properties(host).build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            EntraException cause = EntraException.find(error);
            assertEquals("invalid_connection", cause == null ? error.getMessage() : cause.code());
        }
        assertEquals(0, Emulator.plaintextBytes());
    }

    @Test
    void dataSourceUsesAPasswordAsItIs() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        String token = Emulator.mint(principal.name(), Map.of());
        try (var source = EntraDataSource.builder(Emulator.url()).build()) {
            assertEquals(principal.name(), currentUser(source.getConnection(principal.name(), token)));
        }
        try (var source = EntraDataSource.builder(Emulator.url()).requireEntra(true).build()) {
            assertThrows(SQLNonTransientConnectionException.class, () -> source.getConnection(principal.name(), token));
        }
    }

    @Test
    void dataSourceTriesOnceMoreWithANewerToken() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.setTokens(Map.of("lifetime_s", 20));
        try (var source = EntraDataSource.builder(Emulator.url()).credential(identity(principal)).build()) {
            currentUser(source.getConnection());
            sleep(2500);
            Emulator.controlPostgres(Map.of("refuse_next", 1));
            assertEquals(principal.name(), currentUser(source.getConnection()));
            assertEquals(2, Emulator.requests(principal).size());
        }
    }

    @Test
    void dataSourceInAnOutageIsTransient() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("status", 503));
        try (var source = EntraDataSource.builder(Emulator.url() + "&loginTimeout=3")
                .credential(identity(principal))
                .build()) {
            SQLException error = assertThrows(SQLException.class, source::getConnection);
            assertInstanceOf(SQLTransientConnectionException.class, error);
            assertTrue(error.getMessage().contains("503"), error.getMessage());
        }
    }

    @Test
    void hikariPoolsGoOnAcrossExpiry() throws Exception {
        // Hikari would otherwise not test a connection that was used within 500 ms.
        System.setProperty("com.zaxxer.hikari.aliveBypassWindowMs", "0");
        Emulator.setTokens(Map.of("lifetime_s", 6));
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (var provider = TokenProvider.builder().credential(identity(principal)).build();
                var source = EntraDataSource.builder(Emulator.url()).credential(identity(principal)).build()) {
            HikariConfig credentials = new HikariConfig();
            credentials.setJdbcUrl(Emulator.url());
            credentials.setCredentialsProvider(new EntraCredentialsProvider(provider, credentials));
            HikariConfig wrapped = new HikariConfig();
            wrapped.setDataSource(source);
            HikariConfig plugin = new HikariConfig();
            plugin.setJdbcUrl(Emulator.url() + "&user=" + principal.name() + "&azure.managedIdentityEnabled=true&azure.clientId="
                    + principal.clientId() + PLUGIN);
            for (HikariConfig config : List.of(credentials, wrapped, plugin)) {
                config.setMaximumPoolSize(2);
                config.setConnectionTimeout(5000);
            }
            try (var first = new HikariDataSource(credentials);
                    var second = new HikariDataSource(wrapped);
                    var third = new HikariDataSource(plugin)) {
                long end = System.nanoTime() + 9_000_000_000L;
                while (System.nanoTime() < end) {
                    for (DataSource pool : List.of(first, second, third)) {
                        assertEquals(principal.name(), currentUser(pool.getConnection()));
                    }
                    Emulator.controlPostgres(Map.of("disconnect", true));
                    sleep(300);
                }
            }
            assertTrue(Emulator.requests(principal).size() >= 2);
        }
    }

    static void sleep(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
