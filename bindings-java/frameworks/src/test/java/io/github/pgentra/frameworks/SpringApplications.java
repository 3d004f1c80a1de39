package io.github.pgentra.frameworks;

import jakarta.persistence.EntityManagerFactory;
import javax.sql.DataSource;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.r2dbc.core.DatabaseClient;
import samples.Sample;
import samples.SpringJdbcSample;
import samples.SpringJpaSample;
import samples.SpringR2dbcSample;

/** The samples of Spring Boot, each as a running application. */
final class SpringApplications {
    private SpringApplications() {}

    static Sample jdbc() {
        ConfigurableApplicationContext context =
                Applications.jdbc(SpringJdbcSample.class, Applications.ENABLED, Applications.url());
        JdbcTemplate template = context.getBean(JdbcTemplate.class);
        return new Running(context, () -> template.queryForObject("select current_user", String.class));
    }

    static Sample jpa() {
        ConfigurableApplicationContext context = Applications.jdbc(
                SpringJpaSample.class, Applications.ENABLED, Applications.url(), "spring.jpa.generate-ddl=true");
        EntityManagerFactory entities = context.getBean(EntityManagerFactory.class);
        context.getBean(DataSource.class);
        return new Running(context, () -> {
            var manager = entities.createEntityManager();
            try {
                return (String) manager.createNativeQuery("select cast(current_user as text)").getSingleResult();
            } finally {
                manager.close();
            }
        });
    }

    static Sample r2dbc() {
        ConfigurableApplicationContext context = Applications.reactive(
                SpringR2dbcSample.class,
                "pgentra.enabled=true",
                "spring.r2dbc.url=" + R2dbcTest.url(),
                "spring.r2dbc.pool.initial-size=0",
                "spring.r2dbc.pool.validation-query=select 1");
        DatabaseClient client = context.getBean(DatabaseClient.class);
        return new Running(context, () -> client.sql("select current_user")
                .map(row -> row.get(0, String.class))
                .one()
                .block());
    }

    private record Running(ConfigurableApplicationContext context, Sample sample) implements Sample {
        @Override
        public String currentUser() throws Exception {
            return sample.currentUser();
        }

        @Override
        public void close() {
            context.close();
        }
    }
}
