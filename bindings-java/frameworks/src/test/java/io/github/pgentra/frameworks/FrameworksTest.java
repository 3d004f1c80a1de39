package io.github.pgentra.frameworks;


import com.zaxxer.hikari.HikariDataSource;
import io.github.pgentra.Emulator;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.hikari.EntraCredentialsProvider;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import samples.Dbcp2Sample;
import samples.FlywaySample;
import samples.HibernateSample;
import samples.HikariSample;
import samples.JdbcSample;
import samples.JooqSample;
import samples.LiquibaseSample;
import samples.MyBatisSample;
import samples.R2dbcPoolSample;
import samples.Sample;
import samples.TomcatPoolSample;
import samples.VertxSample;

/** The samples of examples/java and pools of other versions log in over verify-full, and go on when tokens expire. */
@ExtendWith(Emulator.class)
class FrameworksTest {
    private static final int LIFETIME_S = 8;

    @Test
    void everyFrameworkLogsInAcrossExpiry() throws Exception {
        // Hikari would otherwise not test a connection that was used within 500 ms.
        System.setProperty("com.zaxxer.hikari.aliveBypassWindowMs", "0");
        Emulator.setTokens(Map.of("lifetime_s", LIFETIME_S));
        Emulator.Principal principal = Applications.administrator();
        System.setProperty("AZURE_CLIENT_ID", principal.clientId());
        String url = Emulator.url();
        // The plugin keeps one credential for equal options, and other tests use it with other variables.
        String withUser = url + "&user=" + principal.name() + "&azure.clientId=" + principal.clientId();
        Map<String, Sample> samples = new LinkedHashMap<>();
        try {
            samples.put("pgjdbc", new JdbcSample(withUser));
            samples.put("HikariCP 7", new HikariSample(url));
            samples.put("HikariCP's credentials provider", new CredentialsProvider(url));
            for (Path file : OtherHikari.files()) {
                samples.put(file.getFileName().toString(), new OtherHikari(file, url));
            }
            samples.put("Tomcat's pool", new TomcatPoolSample(url));
            samples.put("DBCP 2", new Dbcp2Sample(withUser));
            samples.put("Hibernate", new HibernateSample(url));
            samples.put("jOOQ", new JooqSample(url));
            samples.put("Flyway", new FlywaySample(url));
            samples.put("Liquibase", new LiquibaseSample(url));
            samples.put("MyBatis", new MyBatisSample(url));
            samples.put("r2dbc-pool", new R2dbcPoolSample(R2dbcTest.url()));
            samples.put(
                    "Vert.x",
                    new VertxSample(
                            "postgresql://" + Emulator.text("postgres", "host") + ":" + Emulator.text("postgres", "port") + "/"
                                    + Emulator.text("postgres", "database"),
                            Emulator.text("ca_file")));
            samples.put("Agroal with Quarkus's CredentialsProvider", new AgroalPool(url));
            samples.put("Spring JDBC", SpringApplications.jdbc());
            samples.put("Spring JPA", SpringApplications.jpa());
            samples.put("Spring R2DBC", SpringApplications.r2dbc());
            Expiry.check(samples, principal, LIFETIME_S);
        } finally {
            for (Sample sample : samples.values()) {
                sample.close();
            }
        }
    }

    /** HikariCP 7 without a data source of ours. */
    private static final class CredentialsProvider implements Sample {
        private final TokenProvider provider = TokenProvider.builder().build();
        private final HikariDataSource pool = new HikariDataSource();

        private CredentialsProvider(String url) {
            pool.setJdbcUrl(url);
            pool.setMaximumPoolSize(2);
            pool.setCredentialsProvider(new EntraCredentialsProvider(provider, pool));
        }

        @Override
        public String currentUser() throws Exception {
            return Sample.currentUser(pool.getConnection());
        }

        @Override
        public void close() {
            pool.close();
            provider.close();
        }
    }
}
