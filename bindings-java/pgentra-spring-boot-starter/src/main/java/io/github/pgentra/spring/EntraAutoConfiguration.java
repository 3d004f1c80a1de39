package io.github.pgentra.spring;

import org.springframework.beans.factory.BeanFactory;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.ImportRuntimeHints;
import org.springframework.core.Ordered;
import org.springframework.core.annotation.Order;
import org.springframework.core.env.Environment;

/**
 * Logs in with an Entra identity: enabled by {@code pgentra.enabled=true}, or for JDBC by
 * {@code spring.datasource.azure.passwordless-enabled=true}.
 */
@AutoConfiguration
@Conditional(EnabledCondition.class)
@ImportRuntimeHints(EntraRuntimeHints.class)
public class EntraAutoConfiguration {
    @Bean
    static EntraDataSourceProcessor pgentraDataSourceProcessor() {
        return new EntraDataSourceProcessor();
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(name = "io.micrometer.core.instrument.binder.MeterBinder")
    static class MetricsConfiguration {
        @Bean
        @ConditionalOnMissingBean
        EntraMetrics pgentraMetrics() {
            return new EntraMetrics();
        }
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(
            name = {
                "io.r2dbc.postgresql.PostgresqlConnectionFactoryProvider",
                "org.springframework.boot.r2dbc.ConnectionFactoryDecorator"
            })
    static class R2dbcConfiguration {
        @Bean
        static R2dbcLogins pgentraR2dbcLogins(Environment environment, BeanFactory beans) {
            return new R2dbcLogins(environment, beans);
        }

        @Bean
        @Order(Ordered.HIGHEST_PRECEDENCE)
        org.springframework.boot.r2dbc.ConnectionFactoryDecorator pgentraConnectionFactoryDecorator(R2dbcLogins logins) {
            return logins::decorate;
        }

        /** The interface of Spring Boot 4. */
        @Configuration(proxyBeanMethods = false)
        @ConditionalOnClass(name = "org.springframework.boot.r2dbc.autoconfigure.ConnectionFactoryOptionsBuilderCustomizer")
        static class Boot4Configuration {
            @Bean
            @Order(Ordered.LOWEST_PRECEDENCE)
            org.springframework.boot.r2dbc.autoconfigure.ConnectionFactoryOptionsBuilderCustomizer
                    pgentraConnectionFactoryCustomizer(R2dbcLogins logins) {
                return logins::customize;
            }
        }

        /** The interface of Spring Boot 3. */
        @Configuration(proxyBeanMethods = false)
        @ConditionalOnClass(name = "org.springframework.boot.autoconfigure.r2dbc.ConnectionFactoryOptionsBuilderCustomizer")
        static class Boot3Configuration {
            @Bean
            @Order(Ordered.LOWEST_PRECEDENCE)
            org.springframework.boot.autoconfigure.r2dbc.ConnectionFactoryOptionsBuilderCustomizer
                    pgentraConnectionFactoryCustomizer(R2dbcLogins logins) {
                return logins::customize;
            }
        }
    }
}
