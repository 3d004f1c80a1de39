package io.github.pgentra.spring;

import io.github.pgentra.EntraException;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.r2dbc.EntraR2dbc;
import io.r2dbc.spi.ConnectionFactory;
import io.r2dbc.spi.ConnectionFactoryOptions;
import io.r2dbc.spi.Option;
import java.util.Properties;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.DisposableBean;
import org.springframework.core.env.Environment;

/** Puts the logins into the options of Spring Boot's connection factory, and the retry around the factory. */
final class R2dbcLogins implements DisposableBean {
    private static final Option<Object> ALLOW_INSECURE_TRANSPORT = Option.valueOf("pgentra.allowInsecureTransport");

    private final EntraProperties properties;
    private final BeanFactory beans;
    private TokenProvider provider;

    R2dbcLogins(Environment environment, BeanFactory beans) {
        properties = new EntraProperties(environment);
        this.beans = beans;
    }

    void customize(ConnectionFactoryOptions.Builder builder) {
        if (!properties.r2dbc()) {
            return;
        }
        ConnectionFactoryOptions options = builder.build();
        Object password = options.getValue(ConnectionFactoryOptions.PASSWORD);
        if (password != null && !password.toString().isEmpty()) {
            throw new EntraConfigurationException(
                    "The R2DBC connection factory has a password, so it would not log in with Entra",
                    "Remove spring.r2dbc.password, or replace " + EntraProperties.ENABLED + "=true by "
                            + EntraProperties.PASSWORDLESS + "=true, which is about JDBC.");
        }
        Credential credential =
                Credentials.find(beans, properties.credentialBeanName(), properties.hasCredential());
        Properties connection = properties.connection(credential == null);
        try {
            TokenProvider.Builder provided = TokenProvider.builder().properties(connection);
            Object host = options.getValue(ConnectionFactoryOptions.HOST);
            if (host != null) {
                provided.host(host.toString());
            }
            if (credential != null) {
                provided.credential(credential);
            }
            provider = provided.build();
            String allowed = connection.getProperty("pgentra.allowInsecureTransport");
            if (allowed != null) {
                options = options.mutate().option(ALLOW_INSECURE_TRANSPORT, allowed).build();
            }
            builder.from(EntraR2dbc.apply(options, provider));
        } catch (EntraException e) {
            throw new EntraConfigurationException(
                    "The R2DBC connection factory cannot log in with Entra: " + e.getMessage(),
                    "Correct spring.r2dbc.url, or the property that the description names.",
                    e);
        }
    }

    ConnectionFactory decorate(ConnectionFactory factory) {
        return provider == null ? factory : EntraR2dbc.decorate(factory, provider);
    }

    @Override
    public void destroy() {
        if (provider != null) {
            provider.close();
        }
    }
}
