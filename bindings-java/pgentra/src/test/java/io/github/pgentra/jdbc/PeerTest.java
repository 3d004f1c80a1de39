package io.github.pgentra.jdbc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrowsExactly;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.Emulator;
import io.github.pgentra.EntraException;
import io.github.pgentra.identity.ClientCertificateCredential;
import io.github.pgentra.identity.ClientSecretCredential;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.DefaultAzureCredential;
import io.github.pgentra.identity.ManagedIdentityCredential;
import io.github.pgentra.internal.ConnectionOptions;
import io.github.pgentra.internal.Json;
import io.github.pgentra.internal.Library;
import java.sql.Connection;
import java.sql.DriverManager;
import java.util.Map;
import java.util.Properties;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.plugin.AuthenticationPlugin;
import org.postgresql.plugin.AuthenticationRequestType;
import org.postgresql.util.PSQLException;

/** What a program sees that moves over from azure-identity-extensions: the same options, call order and types. */
@ExtendWith(Emulator.class)
class PeerTest {
    private static Credential credential(String... namesAndValues) {
        Properties properties = new Properties();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            properties.setProperty(namesAndValues[i], namesAndValues[i + 1]);
        }
        return ConnectionOptions.read(properties, Map.of(), ConnectionOptions.Source.PROPERTIES, null).credential();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "https://login.microsoftonline.com/",
                "https://login.chinacloudapi.cn/",
                "https://login.microsoftonline.us/"
            })
    void authorityDoesNotChangeTheKindOfCredential(String authority) {
        assertInstanceOf(
                ClientSecretCredential.class,
                credential(
                        "azure.tenantId", "t",
                        "azure.clientId", "c",
                        "azure.clientSecret", "s",
                        "azure.authorityHost", authority));
        assertInstanceOf(
                ClientCertificateCredential.class,
                credential(
                        "azure.tenantId", "t",
                        "azure.clientId", "c",
                        "azure.clientCertificatePath", "p",
                        "azure.authorityHost", authority));
        assertInstanceOf(
                ManagedIdentityCredential.class,
                credential("azure.managedIdentityEnabled", "true", "azure.authorityHost", authority));
        assertInstanceOf(DefaultAzureCredential.class, credential("azure.authorityHost", authority));
    }

    @Test
    void userNameAndPasswordAreRefused() {
        assertThrowsExactly(
                io.github.pgentra.CredentialValueException.class,
                () -> credential("azure.clientId", "c", "azure.username", "u", "azure.password", "p"));
    }

    /** The scope of the authority's cloud, where no server says another one. */
    @ParameterizedTest
    @CsvSource({
        "https://login.microsoftonline.com/, https://ossrdbms-aad.database.windows.net/.default",
        "https://login.chinacloudapi.cn/, https://ossrdbms-aad.database.chinacloudapi.cn/.default",
        "https://login.microsoftonline.us/, https://ossrdbms-aad.database.usgovcloudapi.net/.default"
    })
    void scopeFollowsTheAuthority(String authority, String scope) {
        assertEquals(scope, Json.object(Library.resolveCloud(null, null, authority, null, null)).get("scope"));
    }

    /** The constructor of properties does nothing: neither an option nor the native library is looked at. */
    @Test
    void constructorNeverFails() {
        Properties wrong = new Properties();
        wrong.setProperty("azure.accessTokenTimeoutInSeconds", "no number");
        wrong.setProperty("pgentra.bogus", "x");
        assertNotNull(new EntraAuthenticationPlugin(wrong));
        assertNotNull(new EntraAuthenticationPlugin(new Properties()));
    }

    @Test
    void failureIsExactlyPsqlException() {
        AuthenticationPlugin plugin = new EntraAuthenticationPlugin(new Properties());
        for (AuthenticationRequestType type : AuthenticationRequestType.values()) {
            PSQLException error = assertThrowsExactly(PSQLException.class, () -> plugin.getPassword(type));
            assertNotNull(EntraException.find(error));
        }
    }

    /** Plugins of equal options share the token; the driver makes one for each connection. */
    @Test
    void pluginsShareTheirToken() throws Exception {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Properties properties = new Properties();
        properties.setProperty("PGHOST", "localhost");
        properties.setProperty("azure.managedIdentityEnabled", "true");
        properties.setProperty("azure.clientId", principal.clientId());
        String first = null;
        for (int i = 0; i < 5; i++) {
            char[] token = new EntraAuthenticationPlugin(properties).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
            assertTrue(first == null || first.equals(new String(token)));
            first = new String(token);
        }
        assertEquals(1, Emulator.requests(principal).size());
    }

    /** The URL of the samples, with the name of the class changed. */
    @Test
    void urlOfTheSamplesLogsIn() throws Exception {
        String url = Emulator.url()
                + "&user=app-mi&authenticationPluginClassName="
                + "com.azure.identity.extensions.jdbc.postgresql.AzurePostgresqlAuthenticationPlugin";
        String moved = url.replace(
                "com.azure.identity.extensions.jdbc.postgresql.AzurePostgresqlAuthenticationPlugin",
                EntraAuthenticationPlugin.class.getName());
        try (Connection connection = DriverManager.getConnection(moved)) {
            assertTrue(connection.isValid(5));
        }
    }
}
