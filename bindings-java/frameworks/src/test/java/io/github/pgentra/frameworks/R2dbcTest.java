package io.github.pgentra.frameworks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.Emulator;
import io.github.pgentra.EntraException;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.r2dbc.EntraR2dbc;
import io.r2dbc.postgresql.PostgresqlConnectionFactoryProvider;
import io.r2dbc.postgresql.client.SSLMode;
import io.r2dbc.spi.Connection;
import io.r2dbc.spi.ConnectionFactories;
import io.r2dbc.spi.ConnectionFactory;
import io.r2dbc.spi.ConnectionFactoryOptions;
import io.r2dbc.spi.Option;
import io.r2dbc.spi.R2dbcException;
import io.r2dbc.spi.R2dbcTransientResourceException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** R2DBC without a framework. */
@ExtendWith(Emulator.class)
class R2dbcTest {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    /** The URL of the emulator's proxy, with verified TLS. */
    static String url() {
        return Emulator.url()
                .replace("jdbc:postgresql", "r2dbc:postgresql")
                .replace("sslmode", "sslMode")
                .replace("sslrootcert", "sslRootCert");
    }

    /** A URL whose host is not local for the rule, and reaches the emulator on this machine. */
    static String plaintext(String options) {
        try {
            String name = InetAddress.getLocalHost().getHostName();
            return url().replaceFirst("//[^:]+:", "//" + name + ":").replaceFirst("\\?.*", "") + options;
        } catch (UnknownHostException e) {
            throw new IllegalStateException(e);
        }
    }

    static String currentUser(ConnectionFactory factory) {
        return Flux.usingWhen(
                        factory.create(),
                        connection -> Flux.from(connection
                                        .createStatement("select current_user")
                                        .execute())
                                .flatMap(result -> result.map((row, metadata) -> row.get(0, String.class))),
                        Connection::close)
                .blockLast(LIMIT);
    }

    private static TokenProvider provider(Emulator.Principal principal) {
        return TokenProvider.builder()
                .credential(new ManagedIdentityCredentialBuilder()
                        .clientId(principal.clientId())
                        .build())
                .build();
    }

    @Test
    void applyLogsInWithTheDefaultCredential() {
        assertEquals(
                "app-mi",
                currentUser(ConnectionFactories.get(EntraR2dbc.apply(ConnectionFactoryOptions.parse(url())))));
    }

    @Test
    void applyDerivesTheRole() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (TokenProvider provider = provider(principal)) {
            ConnectionFactory factory = EntraR2dbc.connectionFactory(ConnectionFactoryOptions.parse(url()), provider);
            assertEquals(principal.name(), currentUser(factory));
            assertEquals(principal.name(), currentUser(factory));
            assertEquals(1, Emulator.requests(principal).size());
        }
    }

    @Test
    void applyKeepsAUserAndAPassword() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (TokenProvider provider = provider(principal)) {
            String withUser = url().replace("//", "//" + principal.name() + "@");
            assertEquals(
                    principal.name(),
                    currentUser(EntraR2dbc.connectionFactory(ConnectionFactoryOptions.parse(withUser), provider)));
            ConnectionFactoryOptions options = ConnectionFactoryOptions.parse(url())
                    .mutate()
                    .option(ConnectionFactoryOptions.USER, principal.name())
                    .option(ConnectionFactoryOptions.PASSWORD, Emulator.mint(principal.name(), Map.of()))
                    .build();
            assertEquals(principal.name(), currentUser(EntraR2dbc.connectionFactory(options, provider)));
            assertEquals(1, Emulator.requests(principal).size());
        }
    }

    @Test
    void applyRaisesTls() {
        try (TokenProvider provider = TokenProvider.builder().build()) {
            for (String options : List.of("", "?sslMode=prefer", "?sslMode=allow", "?sslmode=prefer", "?ssl=false")) {
                ConnectionFactoryOptions applied =
                        EntraR2dbc.apply(ConnectionFactoryOptions.parse(plaintext(options)), provider);
                assertEquals(SSLMode.REQUIRE, applied.getValue(PostgresqlConnectionFactoryProvider.SSL_MODE), options);
            }
            for (String options :
                    List.of("?sslMode=verify-full", "?sslMode=VERIFY_CA", "?ssl=true", "?sslMode=tunnel")) {
                ConnectionFactoryOptions given = ConnectionFactoryOptions.parse(plaintext(options));
                Option<SSLMode> mode = PostgresqlConnectionFactoryProvider.SSL_MODE;
                assertEquals(
                        given.getValue(mode), EntraR2dbc.apply(given, provider).getValue(mode), options);
            }
        }
    }

    @Test
    void tokenIsNotSentWithoutTls() {
        Emulator.controlPostgres(Map.of("plaintext", true));
        try (TokenProvider provider = TokenProvider.builder().build()) {
            for (String options : List.of("", "?sslMode=prefer", "?sslmode=allow", "?sslMode=require", "?ssl=true")) {
                ConnectionFactory factory =
                        EntraR2dbc.connectionFactory(ConnectionFactoryOptions.parse(plaintext(options)), provider);
                assertThrows(R2dbcException.class, () -> currentUser(factory), options);
            }
            for (String options : List.of("?sslMode=disable", "?sslmode=disable")) {
                EntraException error = assertThrows(
                        EntraException.class,
                        () -> EntraR2dbc.apply(ConnectionFactoryOptions.parse(plaintext(options)), provider));
                assertEquals("insecure_transport", error.code());
            }
        }
        assertEquals(0, Emulator.plaintextBytes());
    }

    @Test
    void bytesAreCountedWherePlaintextIsAllowed() {
        Emulator.controlPostgres(Map.of("plaintext", true));
        try (TokenProvider provider = TokenProvider.builder().build()) {
            for (String options : List.of("", "?sslMode=disable", "?sslMode=prefer")) {
                String allowed = (options.isEmpty() ? "?" : options + "&") + "pgentra.allowInsecureTransport=true";
                long before = Emulator.plaintextBytes();
                assertEquals(
                        "app-mi",
                        currentUser(EntraR2dbc.connectionFactory(
                                ConnectionFactoryOptions.parse(plaintext(allowed)), provider)),
                        options);
                assertTrue(Emulator.plaintextBytes() > before + 500, options);
            }
        }
    }

    @Test
    void anotherDriverIsRefused() {
        try (TokenProvider provider = TokenProvider.builder().build()) {
            for (String url : List.of("r2dbc:mysql://localhost/test", "r2dbc:pool:mysql://localhost/test")) {
                EntraException error = assertThrows(
                        EntraException.class, () -> EntraR2dbc.apply(ConnectionFactoryOptions.parse(url), provider));
                assertTrue(error.getMessage().contains("mysql"), error.getMessage());
            }
            EntraR2dbc.apply(ConnectionFactoryOptions.parse("r2dbc:pool:postgresql://localhost/test"), provider);
        }
    }

    @Test
    void loginErrorIsExplained() {
        try (TokenProvider provider = TokenProvider.builder().build()) {
            ConnectionFactory factory = EntraR2dbc.connectionFactory(
                    ConnectionFactoryOptions.parse(url().replace("//", "//nobody-here@")), provider);
            R2dbcException error = assertThrows(R2dbcException.class, () -> currentUser(factory));
            assertEquals("28000", error.getSqlState());
            assertTrue(error.getMessage().contains("pgaadauth_create_principal_with_oid"), error.getMessage());
            assertFalse(error.getMessage().contains("eyJ"));
        }
    }

    @Test
    void loginErrorIsRetriedWithANewerToken() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.setTokens(Map.of("lifetime_s", 20));
        try (TokenProvider provider = provider(principal)) {
            ConnectionFactory factory = EntraR2dbc.connectionFactory(ConnectionFactoryOptions.parse(url()), provider);
            currentUser(factory);
            Mono.delay(Duration.ofMillis(2500)).block();
            Emulator.controlPostgres(Map.of("refuse_next", 1));
            assertEquals(principal.name(), currentUser(factory));
            assertEquals(2, Emulator.requests(principal).size());
        }
    }

    @Test
    void outageIsTransient() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("status", 503));
        try (TokenProvider provider = TokenProvider.builder()
                .credential(new ManagedIdentityCredentialBuilder()
                        .clientId(principal.clientId())
                        .build())
                .timeout(Duration.ofSeconds(2))
                .build()) {
            ConnectionFactory factory = EntraR2dbc.connectionFactory(ConnectionFactoryOptions.parse(url()), provider);
            Throwable error = assertThrows(R2dbcException.class, () -> currentUser(factory));
            assertInstanceOf(R2dbcTransientResourceException.class, error);
            assertTrue(error.getMessage().contains("503"), error.getMessage());
            assertInstanceOf(EntraException.class, error.getCause());
        }
    }
}
