package io.github.pgentra.hikari;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariCredentialsProvider;
import com.zaxxer.hikari.util.Credentials;
import io.github.pgentra.Login;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.jdbc.EntraDataSource;
import io.github.pgentra.jdbc.Tls;
import java.util.Objects;
import java.util.Properties;
import org.postgresql.Driver;
import org.postgresql.ds.common.BaseDataSource;

/**
 * Gives HikariCP 7 the role and the token of each new connection, for a pool with a URL:
 *
 * <pre>{@code
 * config.setJdbcUrl("jdbc:postgresql://HOST/DATABASE?sslmode=verify-full");
 * config.setCredentialsProvider(new EntraCredentialsProvider(provider, config));
 * }</pre>
 *
 * <p>The URL must ensure TLS, because the provider cannot change it: otherwise each connection fails with
 * {@code insecure_transport}. A login that the server refuses is not tried again; {@link EntraDataSource} does so.
 */
public final class EntraCredentialsProvider implements HikariCredentialsProvider {
    private final TokenProvider provider;
    private final HikariConfig config;

    /**
     * @param provider the provider; it stays the caller's to close
     * @param config the configuration of the pool
     */
    public EntraCredentialsProvider(TokenProvider provider, HikariConfig config) {
        this.provider = Objects.requireNonNull(provider, "provider");
        this.config = Objects.requireNonNull(config, "config");
    }

    @Override
    public Credentials getCredentials() {
        if (!(config.getDataSource() instanceof EntraDataSource)) {
            Tls.check(properties());
        }
        Login login = provider.login();
        return Credentials.of(login.user(), login.password());
    }

    /** The properties of a connection; without a host where they are not known, which counts as a remote server. */
    private Properties properties() {
        Properties properties = new Properties();
        for (String name : config.getDataSourceProperties().stringPropertyNames()) {
            properties.setProperty(name, config.getDataSourceProperties().getProperty(name));
        }
        if (config.getDataSource() instanceof BaseDataSource source) {
            return url(source.getURL(), new Properties());
        }
        if (config.getDataSource() != null) {
            return new Properties();
        }
        if (config.getJdbcUrl() != null) {
            return url(config.getJdbcUrl(), properties);
        }
        // The names of the data source's own properties.
        rename(properties, "serverName", "PGHOST");
        rename(properties, "sslMode", "sslmode");
        return properties;
    }

    private static Properties url(String url, Properties defaults) {
        Properties parsed = Driver.parseURL(url, defaults);
        return parsed == null ? new Properties() : parsed;
    }

    private static void rename(Properties properties, String from, String to) {
        if (properties.getProperty(to) == null && properties.getProperty(from) != null) {
            properties.setProperty(to, properties.getProperty(from));
        }
    }
}
