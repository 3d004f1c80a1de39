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
        for (String mode : List.of("", "?sslmode=prefer", "?sslmode=allow", "?sslmode=disable")) {
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
        for (String mode : List.of("", "?sslmode=prefer", "?sslmode=allow", "?sslmode=disable", "?ssl=false")) {
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
