package samples;

import jakarta.persistence.EntityManager;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** Spring Boot with JPA: the starter, and the properties of {@code spring-jdbc.properties}. */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
public class SpringJpaSample {
    @Bean
    CommandLineRunner login(EntityManager entities) {
        return arguments -> Sample.run(
                "jpa", () -> (String) entities.createNativeQuery("select cast(current_user as text)").getSingleResult());
    }

    public static void main(String[] args) {
        SpringApplication.run(SpringJpaSample.class, args).close();
    }
}
