package io.github.pgentra.frameworks;

import io.github.pgentra.Emulator;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import javax.sql.DataSource;
import org.springframework.boot.Banner;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.util.ClassUtils;

/** Starts Spring Boot applications with the properties of a test. */
final class Applications {
    static final String ENABLED = "spring.datasource.azure.passwordless-enabled=true";

    private Applications() {}

    /** Starts an application with JDBC. Flyway, Liquibase and JPA only run where a property enables them. */
    static ConfigurableApplicationContext jdbc(Class<?> configuration, String... properties) {
        List<String> all = new ArrayList<>(List.of(properties));
        for (String tool : List.of("spring.flyway.enabled", "spring.liquibase.enabled")) {
            if (all.stream().noneMatch(property -> property.startsWith(tool))) {
                all.add(tool + "=false");
            }
        }
        List<String> excluded = new ArrayList<>(List.of(r2dbc()));
        if (all.stream().noneMatch(property -> property.startsWith("spring.jpa"))) {
            excluded.add(first(
                    "org.springframework.boot.hibernate.autoconfigure.HibernateJpaAutoConfiguration",
                    "org.springframework.boot.autoconfigure.orm.jpa.HibernateJpaAutoConfiguration"));
            excluded.add(first(
                    "org.springframework.boot.data.jpa.autoconfigure.DataJpaRepositoriesAutoConfiguration",
                    "org.springframework.boot.autoconfigure.data.jpa.JpaRepositoriesAutoConfiguration"));
        }
        all.add("spring.autoconfigure.exclude=" + String.join(",", excluded));
        return start(configuration, all);
    }

    /** Starts an application with R2DBC, without JDBC. */
    static ConfigurableApplicationContext reactive(Class<?> configuration, String... properties) {
        List<String> all = new ArrayList<>(List.of(properties));
        all.add("spring.autoconfigure.exclude=" + first(
                "org.springframework.boot.flyway.autoconfigure.FlywayAutoConfiguration",
                "org.springframework.boot.autoconfigure.flyway.FlywayAutoConfiguration") + "," + first(
                "org.springframework.boot.liquibase.autoconfigure.LiquibaseAutoConfiguration",
                "org.springframework.boot.autoconfigure.liquibase.LiquibaseAutoConfiguration"));
        return start(configuration, all);
    }

    private static ConfigurableApplicationContext start(Class<?> configuration, List<String> properties) {
        return new SpringApplicationBuilder(configuration)
                .web(WebApplicationType.NONE)
                .bannerMode(Banner.Mode.OFF)
                .logStartupInfo(false)
                .run(properties.stream().map(property -> "--" + property).toArray(String[]::new));
    }

    private static String r2dbc() {
        return first(
                "org.springframework.boot.r2dbc.autoconfigure.R2dbcAutoConfiguration",
                "org.springframework.boot.autoconfigure.r2dbc.R2dbcAutoConfiguration");
    }

    /** The class that this version of Spring Boot has. */
    private static String first(String four, String three) {
        return ClassUtils.isPresent(four, null) ? four : three;
    }

    /** The property of the emulator's URL. */
    static String url() {
        return "spring.datasource.url=" + Emulator.url();
    }

    /** Adds a managed identity that may create schemas and tables. */
    static Emulator.Principal administrator() {
        String name = "administrator-" + System.nanoTime();
        Map<String, Object> principal =
                Map.of("name", name, "kind", "user_assigned", "role", Map.of("admin", true));
        Map<?, ?> made = (Map<?, ?>) ((List<?>) Emulator.call("POST", "/principals", List.of(principal))).get(0);
        return new Emulator.Principal(name, (String) made.get("oid"), (String) made.get("appid"), null);
    }

    static String currentUser(DataSource source) throws SQLException {
        try (Connection connection = source.getConnection();
                ResultSet result = connection.createStatement().executeQuery("select current_user")) {
            result.next();
            return result.getString(1);
        }
    }
}
