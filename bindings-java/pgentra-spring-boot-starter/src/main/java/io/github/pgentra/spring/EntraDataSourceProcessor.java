package io.github.pgentra.spring;

import io.github.pgentra.identity.Credential;
import io.github.pgentra.jdbc.EntraDataSource;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.stream.Stream;
import javax.sql.DataSource;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.BeanFactoryAware;
import org.springframework.beans.factory.BeanFactoryUtils;
import org.springframework.beans.factory.DisposableBean;
import org.springframework.beans.factory.ListableBeanFactory;
import org.springframework.beans.factory.SmartInitializingSingleton;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.EnvironmentAware;
import org.springframework.core.Ordered;
import org.springframework.core.PriorityOrdered;
import org.springframework.core.env.Environment;
import org.springframework.jdbc.datasource.DelegatingDataSource;
import org.springframework.jdbc.datasource.lookup.AbstractRoutingDataSource;
import org.springframework.util.ClassUtils;
import org.springframework.util.StringUtils;

/**
 * Puts an {@link EntraDataSource} below each pool of HikariCP, before the pool starts. A data source to which that cannot be
 * applied ends the start of the application.
 */
final class EntraDataSourceProcessor
        implements BeanPostProcessor,
                BeanFactoryAware,
                EnvironmentAware,
                PriorityOrdered,
                SmartInitializingSingleton,
                DisposableBean {
    static final String PLUGIN = "io.github.pgentra.jdbc.EntraAuthenticationPlugin";
    private static final String HIKARI = "com.zaxxer.hikari.HikariDataSource";
    private static final String EXCLUDE = "List the other data sources in " + EntraProperties.DATA_SOURCES
            + " if this one does not log in with Entra.";

    private static final boolean HAS_SPRING_JDBC = ClassUtils.isPresent(
            "org.springframework.jdbc.datasource.lookup.AbstractRoutingDataSource",
            EntraDataSourceProcessor.class.getClassLoader());
    private static final boolean HAS_R2DBC = Stream.of(
                    "io.r2dbc.spi.ConnectionFactory",
                    "io.r2dbc.postgresql.PostgresqlConnectionFactoryProvider",
                    "reactor.core.publisher.Mono")
            .allMatch(type -> ClassUtils.isPresent(type, EntraDataSourceProcessor.class.getClassLoader()));

    private final List<EntraDataSource> opened = new ArrayList<>();
    private BeanFactory beans;
    private Environment environment;
    private EntraProperties properties;
    private boolean isApplied;

    @Override
    public int getOrder() {
        // Before a processor that wraps the pool.
        return Ordered.HIGHEST_PRECEDENCE + 10;
    }

    @Override
    public void setBeanFactory(BeanFactory beanFactory) {
        beans = beanFactory;
    }

    @Override
    public void setEnvironment(Environment environment) {
        this.environment = environment;
    }

    private EntraProperties properties() {
        if (properties == null) {
            properties = new EntraProperties(environment);
        }
        return properties;
    }

    @Override
    public Object postProcessAfterInitialization(Object bean, String beanName) {
        if (bean instanceof DataSource source && properties().applyTo(beanName)) {
            apply(source, beanName);
            isApplied = true;
        } else if (HAS_R2DBC && properties().r2dbc() && properties().applyTo(beanName)) {
            isApplied |= R2dbcBeans.check(bean, beanName);
        }
        return bean;
    }

    private void apply(DataSource source, String name) {
        if (ClassUtils.isPresent("org.postgresql.Driver", getClass().getClassLoader()) && isEntra(source)) {
            return;
        }
        List<DataSource> targets = HAS_SPRING_JDBC ? Wrappers.targets(source) : null;
        if (targets != null) {
            targets.forEach(target -> apply(target, name));
        } else if (isInstance(source, HIKARI)) {
            HikariPools.apply(this, source, name);
        } else if (!isHikariWrapper(source) && !usesPlugin(source)) {
            throw new EntraConfigurationException(
                    "The data source " + name + " is a " + source.getClass().getName()
                            + ", to which pgentra cannot be applied",
                    "Use HikariCP, which is Spring Boot's default pool; or give this pool a URL with sslmode=verify-full and"
                            + " authenticationPluginClassName=" + PLUGIN + ". " + EXCLUDE);
        }
    }

    private static boolean isEntra(DataSource source) {
        return source instanceof EntraDataSource;
    }

    private static boolean isInstance(Object object, String type) {
        for (Class<?> current = object.getClass(); current != null; current = current.getSuperclass()) {
            if (current.getName().equals(type)) {
                return true;
            }
        }
        return false;
    }

    private static boolean isHikariWrapper(DataSource source) {
        try {
            Class<?> pool = ClassUtils.forName(HIKARI, source.getClass().getClassLoader());
            return source.isWrapperFor(pool);
        } catch (ClassNotFoundException | SQLException | LinkageError | RuntimeException e) {
            return false;
        }
    }

    /** Whether the URL of another pool names our plugin. */
    private static boolean usesPlugin(DataSource source) {
        for (String getter : List.of("getUrl", "getURL", "getJdbcUrl")) {
            try {
                Object url = source.getClass().getMethod(getter).invoke(source);
                if (url != null && url.toString().contains("authenticationPluginClassName=" + PLUGIN)) {
                    return true;
                }
            } catch (ReflectiveOperationException | RuntimeException e) {
                continue;
            }
        }
        return false;
    }

    /** Opens the data source of a pool. */
    EntraDataSource open(String name, String url, String user, String password, Properties added) {
        if (url == null) {
            throw new EntraConfigurationException(
                    "The data source " + name + " has no URL",
                    "Set spring.datasource.url=jdbc:postgresql://HOST/DATABASE?sslmode=verify-full.");
        }
        if (!url.startsWith("jdbc:postgresql:")) {
            String[] parts = url.split(":", 3);
            throw new EntraConfigurationException(
                    "The data source " + name + " is for jdbc:" + (parts.length > 2 ? parts[1] : "")
                            + " and not for PostgreSQL",
                    "Use a URL that begins with jdbc:postgresql://. " + EXCLUDE);
        }
        if (!ClassUtils.isPresent("org.postgresql.Driver", getClass().getClassLoader())) {
            throw new EntraConfigurationException(
                    "The data source " + name + " has no driver", "Add the dependency org.postgresql:postgresql.");
        }
        if (!properties().ignorePassword() && (StringUtils.hasLength(password) || hasPassword(url, added))) {
            throw new EntraConfigurationException(
                    "The data source " + name + " has a password, so it would not log in with Entra",
                    "Remove the password, set pgentra.ignore-password=true if it is a placeholder, or disable "
                            + EntraProperties.ENABLED + " and "
                            + EntraProperties.PASSWORDLESS + ". " + EXCLUDE);
        }
        String beanName = properties().credentialBeanName();
        if (beanName == null) {
            beanName = given(url, added, "azure.tokenCredentialBeanName");
        }
        Credential credential =
                Credentials.find(beans, beanName, properties().hasCredential() || hasCredential(url, added));
        Properties connection = properties().connection(credential == null);
        added.stringPropertyNames().forEach(key -> connection.setProperty(key, added.getProperty(key)));
        connection.remove("azure.tokenCredentialBeanName");
        try {
            EntraDataSource.Builder builder = EntraDataSource.builder(url)
                    .properties(connection)
                    .requireEntra(!properties().ignorePassword());
            if (credential != null) {
                builder.credential(credential);
            }
            if (StringUtils.hasLength(user)) {
                builder.user(user);
            }
            EntraDataSource source = builder.build();
            opened.add(source);
            return source;
        } catch (io.github.pgentra.EntraException e) {
            throw new EntraConfigurationException(
                    "The data source " + name + " cannot log in with Entra: " + e.getMessage(),
                    "Correct the property that the description names.",
                    e);
        }
    }

    private static boolean hasPassword(String url, Properties added) {
        return StringUtils.hasLength(given(url, added, "password"));
    }

    private static boolean hasCredential(String url, Properties added) {
        return List.of(
                        "azure.clientId",
                        "azure.clientSecret",
                        "azure.clientCertificatePath",
                        "azure.managedIdentityEnabled",
                        "azure.tokenCredentialProviderClassName",
                        "pgentra.credential")
                .stream()
                .anyMatch(key -> given(url, added, key) != null);
    }

    /** The value of a connection property in the URL or beside it. */
    private static String given(String url, Properties added, String key) {
        int start = url.indexOf('?');
        for (String pair : start < 0 ? new String[0] : url.substring(start + 1).split("&")) {
            if (pair.startsWith(key + "=")) {
                return pair.substring(key.length() + 1);
            }
        }
        return added.getProperty(key);
    }

    /** Refuses to start where nothing was applied. */
    @Override
    public void afterSingletonsInstantiated() {
        for (String name : properties().dataSourceNames()) {
            if (!beans.containsBean(name)) {
                throw new EntraConfigurationException(
                        EntraProperties.DATA_SOURCES + " names the data source " + name + ", which does not exist",
                        "Name beans of the type DataSource or ConnectionFactory.");
            }
        }
        checkMigration("flyway", "org.flywaydb.core.Flyway");
        checkMigration("liquibase", "liquibase.Liquibase");
        if (isApplied || !(beans instanceof ListableBeanFactory list)) {
            return;
        }
        boolean mayFollow = false;
        for (String name : BeanFactoryUtils.beanNamesForTypeIncludingAncestors(list, DataSource.class, true, false)) {
            mayFollow |= !isCreated(name);
        }
        if (HAS_R2DBC && properties().r2dbc()) {
            mayFollow |= R2dbcBeans.mayFollow(list, this);
        }
        if (!mayFollow) {
            throw new EntraConfigurationException(
                    "pgentra is enabled, and the application has no data source for it",
                    "Set spring.datasource.url, or spring.r2dbc.url with " + EntraProperties.ENABLED
                            + "=true; or disable " + EntraProperties.ENABLED + " and " + EntraProperties.PASSWORDLESS
                            + ".");
        }
    }

    /** A bean that is created later is processed then; one of a parent context was processed there. */
    private boolean isCreated(String name) {
        return beans instanceof ConfigurableListableBeanFactory factory && factory.containsSingleton(name);
    }

    /** A migration tool with a URL or a user of its own does not use the application's data source. */
    private void checkMigration(String library, String type) {
        String prefix = "spring." + library;
        String own = environment.getProperty(prefix + ".url");
        boolean hasUrl = StringUtils.hasLength(own);
        if (!hasUrl && !StringUtils.hasLength(environment.getProperty(prefix + ".user"))
                || StringUtils.hasLength(environment.getProperty(prefix + ".password"))
                || !ClassUtils.isPresent(type, getClass().getClassLoader())) {
            return;
        }
        String url = hasUrl ? own : environment.getProperty("spring.datasource.url", "jdbc:postgresql:");
        // Spring Boot passes no other connection properties.
        if (!url.startsWith("jdbc:postgresql:") || url.contains("authenticationPluginClassName=")) {
            return;
        }
        throw new EntraConfigurationException(
                prefix + (hasUrl ? ".url" : ".user")
                        + " makes a connection of its own, to which pgentra cannot be applied",
                "Remove " + prefix + ".url and " + prefix
                        + ".user, so that the application's data source is used; or add"
                        + " sslmode=verify-full&authenticationPluginClassName=" + PLUGIN + " to " + prefix + ".url.");
    }

    @Override
    public void destroy() {
        opened.forEach(EntraDataSource::close);
    }

    /** Loaded only where R2DBC is on the class path. */
    private static final class R2dbcBeans {
        static boolean mayFollow(ListableBeanFactory beans, EntraDataSourceProcessor processor) {
            return Stream.of(BeanFactoryUtils.beanNamesForTypeIncludingAncestors(
                            beans, io.r2dbc.spi.ConnectionFactory.class, true, false))
                    .anyMatch(name -> !processor.isCreated(name));
        }

        /** Returns whether the bean logs in with Entra. */
        static boolean check(Object bean, String name) {
            if (!(bean instanceof io.r2dbc.spi.ConnectionFactory factory)
                    || bean.getClass().getName().startsWith("org.springframework.r2dbc.connection.")) {
                return false;
            }
            if (!io.github.pgentra.r2dbc.EntraR2dbc.isDecorated(factory)) {
                throw new EntraConfigurationException(
                        "The connection factory " + name
                                + " was not made by Spring Boot, so pgentra cannot be applied to it",
                        "Make it with EntraR2dbc.connectionFactory, or with spring.r2dbc.url. " + EXCLUDE);
            }
            return true;
        }
    }

    /** The data sources of Spring that get their connections from others, which need not be beans. */
    private static final class Wrappers {
        /** Returns the others; null: the data source makes its own connections. */
        static List<DataSource> targets(DataSource source) {
            if (source instanceof DelegatingDataSource delegating) {
                DataSource target = delegating.getTargetDataSource();
                return target == null ? List.of() : List.of(target);
            }
            return source instanceof AbstractRoutingDataSource routing
                    ? List.copyOf(routing.getResolvedDataSources().values())
                    : null;
        }
    }

    /** Loaded only where HikariCP is on the class path. */
    private static final class HikariPools {
        static void apply(EntraDataSourceProcessor processor, DataSource source, String name) {
            com.zaxxer.hikari.HikariDataSource pool = (com.zaxxer.hikari.HikariDataSource) source;
            if (pool.getDataSource() instanceof EntraDataSource || usesPlugin(pool)) {
                return;
            }
            if (pool.getDataSource() != null || pool.getDataSourceClassName() != null) {
                throw new EntraConfigurationException(
                        "The data source " + name + " gets its connections from "
                                + (pool.getDataSource() != null
                                        ? pool.getDataSource().getClass().getName()
                                        : pool.getDataSourceClassName())
                                + ", to which pgentra cannot be applied",
                        "Set its URL instead, or pass it an EntraDataSource. " + EXCLUDE);
            }
            if (pool.getHikariPoolMXBean() != null) {
                throw new EntraConfigurationException(
                        "The pool of the data source " + name + " is running, so pgentra cannot be applied to it",
                        "Create it with new HikariDataSource() and setters, or call setDataSource(EntraDataSource) first. "
                                + EXCLUDE);
            }
            Properties added = new Properties();
            pool.getDataSourceProperties()
                    .forEach((key, value) -> added.setProperty(key.toString(), String.valueOf(value)));
            pool.setDataSource(processor.open(name, pool.getJdbcUrl(), pool.getUsername(), pool.getPassword(), added));
        }
    }
}
