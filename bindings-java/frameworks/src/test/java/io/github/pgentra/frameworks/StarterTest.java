package io.github.pgentra.frameworks;

import static io.github.pgentra.frameworks.Applications.ENABLED;
import static io.github.pgentra.frameworks.Applications.currentUser;
import static io.github.pgentra.frameworks.Applications.jdbc;
import static io.github.pgentra.frameworks.Applications.url;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.azure.core.credential.TokenCredential;
import com.zaxxer.hikari.HikariDataSource;
import io.github.pgentra.Emulator;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.jdbc.EntraDataSource;
import io.github.pgentra.spring.EntraConfigurationException;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DriverManagerDataSource;
import org.springframework.jdbc.datasource.LazyConnectionDataSourceProxy;
import org.springframework.jdbc.datasource.lookup.AbstractRoutingDataSource;
import reactor.core.publisher.Mono;

/** The starter with JDBC. */
@ExtendWith(Emulator.class)
class StarterTest {
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    private static String role(String... properties) throws SQLException {
        try (ConfigurableApplicationContext context = jdbc(Application.class, properties)) {
            return currentUser(context.getBean(DataSource.class));
        }
    }

    private static EntraConfigurationException refused(Class<?> configuration, String... properties) {
        Throwable error = assertThrows(
                Throwable.class, () -> jdbc(configuration, properties).close());
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof EntraConfigurationException found) {
                assertFalse(found.action().isEmpty());
                assertFalse(found.getMessage().contains("canary"), found.getMessage());
                return found;
            }
        }
        throw new AssertionError(error);
    }

    /** The properties of the sample azure-spring-boot-samples/postgresql and of the tutorials of Spring Data. */
    @Test
    void samplePropertiesLogIn() throws SQLException {
        assertEquals(
                "app-mi",
                role(
                        ENABLED,
                        url(),
                        "spring.datasource.username=app-mi",
                        "spring.sql.init.mode=always",
                        "spring.jpa.generate-ddl=true"));
    }

    @Test
    void ownPropertyDerivesTheRole() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        assertEquals(
                principal.name(),
                role(
                        "pgentra.enabled=true",
                        url(),
                        "spring.datasource.azure.credential.managed-identity-enabled=true",
                        "spring.datasource.azure.credential.client-id=" + principal.clientId()));
    }

    @Test
    void serviceConnectorPropertiesLogIn() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        assertEquals(
                principal.name(),
                role(
                        ENABLED,
                        url(),
                        "spring.datasource.username=" + principal.name(),
                        "spring.cloud.azure.credential.managed-identity-enabled=true",
                        "spring.cloud.azure.credential.client-id=" + principal.clientId()));
        Emulator.Principal application = Emulator.add("service_principal");
        assertEquals(
                application.name(),
                role(
                        ENABLED,
                        url(),
                        "spring.datasource.username=" + application.name(),
                        "spring.cloud.azure.credential.client-id=" + application.clientId(),
                        "spring.cloud.azure.credential.client-secret=" + application.secret(),
                        "spring.cloud.azure.profile.tenant-id=" + Emulator.text("tenant_id"),
                        "spring.cloud.azure.profile.environment.active-directory-endpoint="
                                + Emulator.text("authority_host")));
    }

    @Test
    void dataSourcePropertiesWinOverThoseOfTheCloud() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        assertEquals(
                principal.name(),
                role(
                        ENABLED,
                        url(),
                        "spring.cloud.azure.credential.managed-identity-enabled=true",
                        "spring.cloud.azure.credential.client-id=00000000-0000-0000-0000-00000000dead",
                        "spring.datasource.azure.credential.client-id=" + principal.clientId()));
    }

    @Test
    void urlOfThePeerLogsInWithOurs() throws SQLException {
        assertEquals(
                "app-mi",
                role(
                        ENABLED,
                        url() + "&user=app-mi&authenticationPluginClassName="
                                + "com.azure.identity.extensions.jdbc.postgresql.AzurePostgresqlAuthenticationPlugin"));
    }

    @Test
    void disabledChangesNothing() {
        for (String property : List.of("spring.datasource.azure.passwordless-enabled=false", "pgentra.mode=lazy")) {
            try (ConfigurableApplicationContext context = jdbc(
                    Application.class,
                    property,
                    url(),
                    "spring.datasource.username=app-mi",
                    "spring.datasource.password=canary")) {
                HikariDataSource pool = (HikariDataSource) context.getBean(DataSource.class);
                assertEquals(null, pool.getDataSource());
                assertEquals("canary", pool.getPassword());
            }
        }
    }

    @Test
    void passwordIsRefused() {
        for (String password : List.of(
                "spring.datasource.password=canary",
                "spring.datasource.hikari.data-source-properties.password=canary")) {
            EntraConfigurationException error =
                    refused(Application.class, ENABLED, url(), "spring.datasource.username=app-mi", password);
            assertTrue(error.getMessage().contains("has a password"), error.getMessage());
        }
        refused(Application.class, ENABLED, url() + "&user=app-mi&password=canary");
    }

    @Test
    void passwordIsIgnoredWhereThatIsSet() throws SQLException {
        assertEquals(
                "app-mi",
                role(
                        ENABLED,
                        "pgentra.ignore-password=true",
                        url(),
                        "spring.datasource.username=app-mi",
                        "spring.datasource.password=canary"));
    }

    @Test
    void urlOfAnotherDatabaseIsRefused() {
        EntraConfigurationException error = refused(
                Application.class,
                ENABLED,
                "spring.datasource.url=jdbc:mysql://localhost/canary",
                "spring.datasource.driver-class-name=org.postgresql.Driver");
        assertTrue(error.getMessage().contains("jdbc:mysql and not for PostgreSQL"), error.getMessage());
    }

    @Test
    void anotherPoolIsRefused() {
        EntraConfigurationException error = refused(
                Application.class, ENABLED, url(), "spring.datasource.type=org.apache.tomcat.jdbc.pool.DataSource");
        assertTrue(error.getMessage().contains("org.apache.tomcat.jdbc.pool.DataSource"), error.getMessage());
        assertTrue(error.action().contains("authenticationPluginClassName"), error.action());
    }

    @Test
    void anotherPoolWithThePluginLogsIn() throws SQLException {
        assertEquals(
                "app-mi",
                role(
                        ENABLED,
                        url()
                                + "&user=app-mi&authenticationPluginClassName=io.github.pgentra.jdbc.EntraAuthenticationPlugin",
                        "spring.datasource.type=org.apache.tomcat.jdbc.pool.DataSource"));
    }

    @Test
    void unsupportedPropertiesAreRefused() {
        for (String property : List.of(
                "spring.datasource.azure.credential.username=canary",
                "spring.cloud.azure.credential.password=canary",
                "pgentra.bogus=canary",
                "spring.cloud.azure.profile.cloud-type=azure_moon",
                "pgentra.data-sources=other",
                "pgentra.management-lookup=canary",
                "spring.datasource.azure.credential.token-credential-bean-name=absent")) {
            refused(Application.class, ENABLED, url(), property);
        }
    }

    @Test
    void migrationWithItsOwnConnectionIsRefused() {
        EntraConfigurationException error =
                refused(Application.class, ENABLED, url(), "spring.flyway.url=" + Emulator.url());
        assertTrue(error.action().contains("authenticationPluginClassName"), error.action());
        refused(Application.class, ENABLED, url(), "spring.liquibase.user=app-mi");
    }

    @Test
    void migrationWithThePluginLogsIn() throws SQLException {
        Emulator.Principal administrator = Applications.administrator();
        String identity = "&azure.clientId=" + administrator.clientId();
        String plugin = "&authenticationPluginClassName=io.github.pgentra.jdbc.EntraAuthenticationPlugin";
        assertEquals(
                administrator.name(),
                role(
                        ENABLED,
                        url(),
                        "spring.datasource.azure.credential.client-id=" + administrator.clientId(),
                        "spring.flyway.enabled=true",
                        "spring.flyway.url=" + Emulator.url() + identity + plugin,
                        "spring.flyway.user=" + administrator.name(),
                        "spring.flyway.default-schema=flyway_with_plugin",
                        "spring.flyway.locations=classpath:starter/flyway"));
    }

    @Test
    void enabledWithoutADataSourceIsRefused() {
        EntraConfigurationException error = refused(Nothing.class, ENABLED);
        assertTrue(error.getMessage().contains("no data source"), error.getMessage());
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration(
            excludeName = {
                "org.springframework.boot.jdbc.autoconfigure.DataSourceAutoConfiguration",
                "org.springframework.boot.autoconfigure.jdbc.DataSourceAutoConfiguration"
            })
    static class Nothing {}

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class TwoDataSources {
        @Bean
        HikariDataSource orders() {
            HikariDataSource pool = new HikariDataSource();
            pool.setJdbcUrl(Emulator.url());
            return pool;
        }

        @Bean
        HikariDataSource reports() {
            HikariDataSource pool = new HikariDataSource();
            pool.setJdbcUrl(Emulator.url());
            pool.setUsername("app-mi");
            pool.setPassword("canary");
            return pool;
        }
    }

    @Test
    void twoDataSourcesOneWithAPassword() throws SQLException {
        EntraConfigurationException error = refused(TwoDataSources.class, ENABLED);
        assertTrue(error.getMessage().contains("reports"), error.getMessage());
        assertTrue(error.action().contains("pgentra.data-sources"), error.action());
        try (ConfigurableApplicationContext context =
                jdbc(TwoDataSources.class, ENABLED, "pgentra.data-sources=orders")) {
            assertEquals("app-mi", currentUser(context.getBean("orders", DataSource.class)));
            assertEquals(
                    null, context.getBean("reports", HikariDataSource.class).getDataSource());
        }
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class OtherDataSources {
        @Bean
        DataSource own() {
            return EntraDataSource.builder(Emulator.url()).build();
        }

        @Bean
        HikariDataSource wrapping() {
            HikariDataSource pool = new HikariDataSource();
            pool.setDataSource(own());
            return pool;
        }
    }

    @Test
    void dataSourcesThatLogInWithEntraAreKept() throws SQLException {
        try (ConfigurableApplicationContext context = jdbc(OtherDataSources.class, ENABLED)) {
            assertEquals("app-mi", currentUser(context.getBean("own", DataSource.class)));
            assertEquals("app-mi", currentUser(context.getBean("wrapping", DataSource.class)));
        }
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Wrapped {
        @Bean
        DataSource lazy() {
            HikariDataSource pool = new HikariDataSource();
            pool.setJdbcUrl(Emulator.url());
            return new LazyConnectionDataSourceProxy(pool);
        }

        @Bean
        DataSource routing() {
            AbstractRoutingDataSource routing = new AbstractRoutingDataSource() {
                @Override
                protected Object determineCurrentLookupKey() {
                    return "one";
                }
            };
            HikariDataSource pool = new HikariDataSource();
            pool.setJdbcUrl(Emulator.url());
            routing.setTargetDataSources(Map.of("one", pool));
            return routing;
        }
    }

    @Test
    void poolsBehindOtherDataSourcesLogIn() throws SQLException {
        try (ConfigurableApplicationContext context = jdbc(Wrapped.class, ENABLED)) {
            assertEquals("app-mi", currentUser(context.getBean("lazy", DataSource.class)));
            assertEquals("app-mi", currentUser(context.getBean("routing", DataSource.class)));
        }
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class DriverDataSource {
        @Bean
        DataSource plain() {
            return new DriverManagerDataSource(Emulator.url());
        }
    }

    @Test
    void dataSourceWithoutAPoolIsRefused() {
        assertTrue(refused(DriverDataSource.class, ENABLED).getMessage().contains("DriverManagerDataSource"));
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Beans {
        static Emulator.Principal principal;
        static final AtomicInteger CALLS = new AtomicInteger();

        @Bean
        Credential ours() {
            return new ManagedIdentityCredentialBuilder()
                    .clientId(principal.clientId())
                    .build();
        }

        @Bean
        TokenCredential azure() {
            return context -> Mono.fromSupplier(() -> {
                CALLS.incrementAndGet();
                return new com.azure.core.credential.AccessToken(
                        Emulator.mint(principal.name(), Map.of()),
                        OffsetDateTime.now().plusHours(1));
            });
        }
    }

    @Test
    void credentialBeanIsUsed() throws SQLException {
        Beans.principal = Emulator.add("user_assigned");
        for (String property : List.of(
                "pgentra.token-credential-bean-name=azure",
                "spring.cloud.azure.credential.token-credential-bean-name=azure",
                "spring.datasource.hikari.data-source-properties[azure.tokenCredentialBeanName]=azure",
                "pgentra.token-credential-bean-name=ours",
                "pgentra.mode=background")) {
            String user = "spring.datasource.username=" + Beans.principal.name();
            try (ConfigurableApplicationContext context = jdbc(Beans.class, ENABLED, url(), user, property)) {
                assertEquals(Beans.principal.name(), currentUser(context.getBean(DataSource.class)), property);
            }
        }
        assertEquals(3, Beans.CALLS.get());
    }

    @Test
    void tokenIsNotSentWithoutTls() throws SQLException {
        Emulator.controlPostgres(Map.of("plaintext", true));
        // A name that is not local for the rule, and that resolves to this machine.
        String plaintext = Emulator.url().replaceFirst("//[^:]+:", "//0.0.0.0:").replaceFirst("\\?.*", "");
        for (String mode : List.of("", "?sslmode=prefer", "?sslmode=allow", "?sslmode=disable")) {
            assertThrows(
                    Exception.class,
                    () -> role(
                            ENABLED,
                            "spring.datasource.url=" + plaintext + mode,
                            "spring.datasource.hikari.connection-timeout=300"),
                    mode);
        }
        assertEquals(0, Emulator.plaintextBytes());
        // The same server receives the token where that is allowed.
        assertEquals(
                "app-mi",
                role(
                        ENABLED,
                        "spring.datasource.url=" + plaintext + "?sslmode=disable",
                        "pgentra.allow-insecure-transport=true"));
        assertTrue(Emulator.plaintextBytes() > 500);
    }

    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Metered {
        @Bean
        MeterRegistry registry() {
            return new SimpleMeterRegistry();
        }
    }

    @Test
    void metricsArePublished() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (ConfigurableApplicationContext context = jdbc(
                Metered.class,
                ENABLED,
                url(),
                "spring.datasource.azure.credential.managed-identity-enabled=true",
                "spring.datasource.azure.credential.client-id=" + principal.clientId())) {
            assertEquals(
                    principal.name(),
                    context.getBean(JdbcTemplate.class).queryForObject("select current_user", String.class));
            MeterRegistry registry = context.getBean(MeterRegistry.class);
            assertTrue(registry.get("pgentra.tokens").gauge().value() >= 1);
            double fetches = registry.get("pgentra.token.fetches")
                    .tag("pgentra.principal.object_id", principal.oid())
                    .functionCounter()
                    .count();
            assertEquals(1, fetches);
        }
    }

    @Test
    void migrationsUseTheDataSource() throws SQLException {
        // Migrations create tables.
        Emulator.Principal administrator = Applications.administrator();
        for (String tool : List.of("flyway", "liquibase")) {
            try (ConfigurableApplicationContext context = jdbc(
                    Application.class,
                    ENABLED,
                    url(),
                    "spring.datasource.azure.credential.client-id=" + administrator.clientId(),
                    "spring." + tool + ".enabled=true",
                    "spring.flyway.default-schema=starter",
                    "spring.flyway.locations=classpath:starter/flyway",
                    "spring.liquibase.default-schema=starter",
                    "spring.liquibase.change-log=classpath:starter/changelog.sql")) {
                JdbcTemplate template = context.getBean(JdbcTemplate.class);
                String count = "select count(*) from starter." + tool + "_starter";
                assertEquals(1, template.queryForObject(count, Integer.class));
            }
        }
    }
}
