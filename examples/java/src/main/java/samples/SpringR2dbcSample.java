package samples;

import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.r2dbc.core.DatabaseClient;

/** Spring Boot with R2DBC: the starter, and the properties of {@code spring-r2dbc.properties}. */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
public class SpringR2dbcSample {
    @Bean
    CommandLineRunner login(DatabaseClient client) {
        return arguments -> Sample.run("spring-r2dbc", () -> client.sql("select current_user")
                .map(row -> row.get(0, String.class))
                .one()
                .block());
    }

    public static void main(String[] args) {
        SpringApplication.run(SpringR2dbcSample.class, args).close();
    }
}
