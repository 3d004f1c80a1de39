package io.github.pgentra.frameworks;

import io.agroal.api.AgroalDataSource;
import io.agroal.api.configuration.AgroalConnectionPoolConfiguration.ConnectionValidator;
import io.agroal.api.configuration.supplier.AgroalDataSourceConfigurationSupplier;
import io.agroal.api.security.AgroalSecurityProvider;
import io.quarkus.credentials.CredentialsProvider;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import samples.EntraCredentials;
import samples.Sample;

/** Agroal with a {@link CredentialsProvider}, as the extension quarkus-agroal connects the two. */
final class AgroalPool implements Sample {
    private final AgroalDataSource pool;

    AgroalPool(String url) throws Exception {
        CredentialsProvider provider = new EntraCredentials();
        AgroalSecurityProvider security = credential -> {
            if (!(credential instanceof CredentialsProvider asked)) {
                return null;
            }
            Map<String, String> given = asked.getCredentials("default");
            Properties properties = new Properties();
            properties.setProperty("user", given.get(CredentialsProvider.USER_PROPERTY_NAME));
            properties.setProperty("password", given.get(CredentialsProvider.PASSWORD_PROPERTY_NAME));
            return properties;
        };
        pool = AgroalDataSource.from(new AgroalDataSourceConfigurationSupplier().connectionPoolConfiguration(settings -> settings
                .maxSize(2)
                .validateOnBorrow(true)
                .connectionValidator(ConnectionValidator.defaultValidator())
                .acquisitionTimeout(Duration.ofSeconds(30))
                .connectionFactoryConfiguration(
                        factory -> factory.jdbcUrl(url).credential(provider).addSecurityProvider(security))));
    }

    @Override
    public String currentUser() throws Exception {
        return Sample.currentUser(pool.getConnection());
    }

    @Override
    public void close() {
        pool.close();
    }
}
