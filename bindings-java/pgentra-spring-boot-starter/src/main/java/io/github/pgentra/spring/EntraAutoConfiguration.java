package io.github.pgentra.spring;

import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.ImportRuntimeHints;

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
}
