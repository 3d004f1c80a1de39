package io.github.pgentra.frameworks;

import static io.github.pgentra.frameworks.Applications.reactive;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.Emulator;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.r2dbc.EntraR2dbc;
import io.github.pgentra.spring.EntraConfigurationException;
import io.r2dbc.spi.ConnectionFactories;
import io.r2dbc.spi.ConnectionFactory;
import io.r2dbc.spi.ConnectionFactoryOptions;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.r2dbc.core.DatabaseClient;

/** The starter with R2DBC. */
@ExtendWith(Emulator.class)
class StarterR2dbcTest {
    private static final String ENABLED = "pgentra.enabled=true";
    private static final String URL = "spring.r2dbc.url=";

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    private static String role(String... properties) {
        try (ConfigurableApplicationContext context = reactive(Application.class, properties)) {
            return context.getBean(DatabaseClient.class)
                    .sql("select current_user")
                    .map(row -> row.get(0, String.class))
                    .one()
                    .block();
        }
    }

    private static EntraConfigurationException refused(String... properties) {
        Throwable error = assertThrows(Throwable.class, () -> role(properties));
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof EntraConfigurationException found) {
                assertFalse(found.getMessage().contains("canary"), found.getMessage());
                return found;
            }
        }
        throw new AssertionError(error);
    }

    @Test
    void enabledLogsIn() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        String id = "spring.cloud.azure.credential.client-id=" + principal.clientId();
        String identity = "spring.cloud.azure.credential.managed-identity-enabled=true";
        for (String pool : List.of("spring.r2dbc.pool.enabled=true", "spring.r2dbc.pool.enabled=false")) {
            assertEquals(principal.name(), role(ENABLED, URL + R2dbcTest.url(), id, identity, pool));
        }
        assertEquals(
                principal.name(),
                role(ENABLED, URL + R2dbcTest.url(), "spring.r2dbc.username=" + principal.name(), id, identity));
        assertEquals(
                principal.name(),
                role(
                        ENABLED,
                        URL + R2dbcTest.url(),
                        "pgentra.ignore-password=true",
                        "spring.r2dbc.username=" + principal.name(),
                        "spring.r2dbc.password=canary",
                        id,
                        identity));
        assertEquals(1, Emulator.requests(principal).size());
    }

    @Test
    void loginErrorIsExplained() {
        Throwable error = assertThrows(
                Throwable.class, () -> role(ENABLED, URL + R2dbcTest.url(), "spring.r2dbc.username=nobody-here"));
        String message = "";
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            message += cause.getMessage();
        }
        assertTrue(message.contains("pgaadauth_create_principal_with_oid"), message);
    }

    @Test
    void whatCannotBeAppliedIsRefused() {
        EntraConfigurationException error =
                refused(ENABLED, URL + R2dbcTest.url(), "spring.r2dbc.username=app-mi", "spring.r2dbc.password=canary");
        assertTrue(error.getMessage().contains("has a password"), error.getMessage());
        refused(ENABLED, URL + "r2dbc:mysql://localhost/canary");
        refused(ENABLED, URL + "r2dbc:postgresql://example.org/test?sslMode=disable");
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Own {
        @Bean(destroyMethod = "")
        ConnectionFactory connectionFactory() {
            return ConnectionFactories.get(R2dbcTest.url().replace("//", "//app-mi:canary@"));
        }
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class OwnWithEntra {
        @Bean
        ConnectionFactory connectionFactory() {
            return EntraR2dbc.connectionFactory(
                    ConnectionFactoryOptions.parse(R2dbcTest.url()),
                    TokenProvider.builder().build());
        }
    }

    @Test
    void connectionFactoryOfTheApplication() {
        Throwable error =
                assertThrows(Throwable.class, () -> reactive(Own.class, ENABLED).close());
        String messages = "";
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            messages += cause.getMessage();
        }
        assertTrue(messages.contains("connectionFactory was not made by Spring Boot"), messages);
    }

    @Test
    void connectionFactoryOfTheApplicationWithEntraIsKept() {
        try (ConfigurableApplicationContext context = reactive(OwnWithEntra.class, ENABLED)) {
            assertEquals("app-mi", R2dbcTest.currentUser(context.getBean(ConnectionFactory.class)));
        }
    }

    @Test
    void tokenIsNotSentWithoutTls() {
        Emulator.controlPostgres(Map.of("plaintext", true));
        String lazy = "spring.r2dbc.pool.initial-size=0";
        for (String mode : List.of("", "?sslMode=prefer", "?sslMode=allow")) {
            String url = URL + R2dbcTest.plaintext(mode);
            assertThrows(Throwable.class, () -> role(ENABLED, url, lazy), mode);
        }
        assertEquals(0, Emulator.plaintextBytes());
        // The same server receives the token where that is allowed.
        String url = URL + R2dbcTest.plaintext("?sslMode=disable");
        assertEquals("app-mi", role(ENABLED, url, lazy, "pgentra.allow-insecure-transport=true"));
        assertTrue(Emulator.plaintextBytes() > 500);
    }
}
