package samples;

import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.jdbc.core.JdbcTemplate;

/** Spring Boot with JDBC: the starter, and the properties of {@code spring-jdbc.properties}. */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
public class SpringJdbcSample {
    @Bean
    CommandLineRunner login(JdbcTemplate template) {
        return arguments -> Sample.run("spring", () -> template.queryForObject("select current_user", String.class));
    }

    public static void main(String[] args) {
        SpringApplication.run(SpringJdbcSample.class, args).close();
    }
}
