package io.github.pgentra.frameworks;

import io.github.pgentra.Emulator;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import samples.FlywaySample;
import samples.HibernateSample;
import samples.HikariSample;
import samples.JdbcSample;
import samples.LiquibaseSample;
import samples.R2dbcPoolSample;
import samples.Sample;
import samples.TomcatPoolSample;

/** The frameworks whose earlier versions differ: Spring Boot 3.5, Hibernate 6, HikariCP 6, r2dbc-postgresql 1.0. */
@ExtendWith(Emulator.class)
class PreviousVersionsTest {
    private static final int LIFETIME_S = 8;

    @Test
    void everyFrameworkLogsInAcrossExpiry() throws Exception {
        // Hikari would otherwise not test a connection that was used within 500 ms.
        System.setProperty("com.zaxxer.hikari.aliveBypassWindowMs", "0");
        Emulator.setTokens(Map.of("lifetime_s", LIFETIME_S));
        Emulator.Principal principal = Applications.administrator();
        System.setProperty("AZURE_CLIENT_ID", principal.clientId());
        String url = Emulator.url();
        Map<String, Sample> samples = new LinkedHashMap<>();
        try {
            String identity = "&user=" + principal.name() + "&azure.clientId=" + principal.clientId();
            samples.put("pgjdbc", new JdbcSample(url + identity));
            samples.put("HikariCP 6", new HikariSample(url));
            samples.put("Tomcat's pool", new TomcatPoolSample(url));
            samples.put("Hibernate 6", new HibernateSample(url));
            samples.put("Flyway", new FlywaySample(url));
            samples.put("Liquibase", new LiquibaseSample(url));
            samples.put("r2dbc-pool", new R2dbcPoolSample(R2dbcTest.url()));
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
}
