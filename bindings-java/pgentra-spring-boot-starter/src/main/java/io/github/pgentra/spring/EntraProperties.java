package io.github.pgentra.spring;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.EnumerablePropertySource;
import org.springframework.core.env.Environment;
import org.springframework.core.env.PropertySource;
import org.springframework.core.env.StandardEnvironment;

/**
 * The properties {@code pgentra.*}, {@code spring.datasource.azure.*} and {@code spring.cloud.azure.*} as the connection
 * properties of {@link io.github.pgentra.jdbc.EntraDataSource}.
 */
final class EntraProperties {
    static final String ENABLED = "pgentra.enabled";
    static final String PASSWORDLESS = "spring.datasource.azure.passwordless-enabled";
    static final String DATA_SOURCES = "pgentra.data-sources";

    private static final String DATA_SOURCE = "spring.datasource.azure";

    private static final Map<String, String> AUTHORITY_HOSTS = Map.of(
            "azure", "https://login.microsoftonline.com/",
            "azurechina", "https://login.chinacloudapi.cn/",
            "azureusgovernment", "https://login.microsoftonline.us/");

    private static final Map<String, String> SCOPES = Map.of(
            "azure", "https://ossrdbms-aad.database.windows.net/.default",
            "azurechina", "https://ossrdbms-aad.database.chinacloudapi.cn/.default",
            "azureusgovernment", "https://ossrdbms-aad.database.usgovcloudapi.net/.default");

    /** The options of pgentra without a prefix, in uniform and in Java's form. */
    private static final Map<String, String> OPTIONS = options(List.of(
            "fallbackUsername", "managementLookup", "allowInsecureTransport", "mode", "caFile", "credential", "requireEntra"));

    private static final Set<String> OWN = Set.of("enabled", "datasources", "tokencredentialbeanname", "scope");

    private final Map<String, String> dataSource;
    private final Map<String, String> cloud;
    private final Map<String, String> own;
    private final List<String> names;

    EntraProperties(Environment environment) {
        checkNames(environment);
        Binder binder = Binder.get(environment);
        dataSource = read(binder, DATA_SOURCE);
        cloud = new LinkedHashMap<>();
        for (String part : List.of("credential", "profile")) {
            read(binder, "spring.cloud.azure." + part).forEach((key, value) -> cloud.put(part + "." + key, value));
        }
        own = read(binder, "pgentra");
        names = binder.bind(DATA_SOURCES, Bindable.listOf(String.class)).orElse(List.of());
    }

    /** Refuses unknown properties. Variables and Java system properties may have other uses, such as pgentra.native.dir. */
    private static void checkNames(Environment environment) {
        if (!(environment instanceof ConfigurableEnvironment configurable)) {
            return;
        }
        for (PropertySource<?> source : configurable.getPropertySources()) {
            if (!(source instanceof EnumerablePropertySource<?> named)
                    || source.getName().equals(StandardEnvironment.SYSTEM_ENVIRONMENT_PROPERTY_SOURCE_NAME)
                    || source.getName().equals(StandardEnvironment.SYSTEM_PROPERTIES_PROPERTY_SOURCE_NAME)) {
                continue;
            }
            for (String name : named.getPropertyNames()) {
                if (name.startsWith("pgentra.") && !isKnown(uniform(name.substring("pgentra.".length())))) {
                    throw new EntraConfigurationException(
                            "The property " + name + " is unknown",
                            "Use one of pgentra.enabled, data-sources, token-credential-bean-name, scope, fallback-username,"
                                    + " management-lookup, allow-insecure-transport, require-entra, mode, ca-file, credential.");
                }
            }
        }
    }

    private static boolean isKnown(String key) {
        return OPTIONS.containsKey(key) || OWN.contains(key) || key.startsWith("datasources[");
    }

    private static Map<String, String> options(List<String> keys) {
        Map<String, String> options = new LinkedHashMap<>();
        keys.forEach(key -> options.put(uniform(key), key));
        return options;
    }

    /** Reads what is below a prefix. Keys are in uniform form, because variables have no other. */
    private static Map<String, String> read(Binder binder, String prefix) {
        Map<String, Object> tree =
                binder.bind(prefix, Bindable.mapOf(String.class, Object.class)).orElse(Map.of());
        Map<String, String> flat = new LinkedHashMap<>();
        flatten("", tree, flat);
        return flat;
    }

    private static void flatten(String prefix, Map<?, ?> tree, Map<String, String> flat) {
        tree.forEach((key, value) -> {
            String name = prefix + uniform(key.toString());
            if (value instanceof Map<?, ?> below) {
                flatten(name + ".", below, flat);
            } else if (value != null && !value.toString().isEmpty()) {
                flat.put(name, value.toString());
            }
        });
    }

    private static String uniform(String name) {
        return name.replace("-", "").replace("_", "").toLowerCase(Locale.ROOT);
    }

    /** Returns whether a data source is to log in with Entra. */
    boolean applyTo(String dataSourceName) {
        return names.isEmpty() || names.contains(dataSourceName);
    }

    /** Returns the names of {@code pgentra.data-sources}; empty: all data sources. */
    List<String> dataSourceNames() {
        return names;
    }

    /** Returns whether R2DBC is to log in with Entra: {@code passwordless-enabled} is about JDBC. */
    boolean r2dbc() {
        return "true".equalsIgnoreCase(own.get("enabled"));
    }

    /** Returns the name of the bean that is the credential, or null. */
    String credentialBeanName() {
        String name = own.get("tokencredentialbeanname");
        return name != null ? name : value("credential.tokencredentialbeanname");
    }

    /** Returns whether a property names a credential. */
    boolean hasCredential() {
        return own.containsKey("credential")
                || List.of("clientid", "clientsecret", "clientcertificatepath", "managedidentityenabled").stream()
                        .anyMatch(key -> value("credential." + key) != null);
    }

    /** The value of {@code spring.datasource.azure}, then of {@code spring.cloud.azure}. */
    private String value(String key) {
        String value = dataSource.get(key);
        return value != null ? value : cloud.get(key);
    }

    /**
     * Returns the connection properties.
     *
     * @param credential whether those of the credential are among them
     */
    Properties connection(boolean credential) {
        for (String key : List.of("username", "password")) {
            if (value("credential." + key) != null) {
                throw new EntraConfigurationException(
                        "The property credential." + key + " of spring.datasource.azure or spring.cloud.azure is not supported,"
                                + " because pgentra has no login with a user's password",
                        "Use a managed identity, a client secret or a certificate.");
            }
        }
        Properties properties = new Properties();
        own.forEach((key, value) -> {
            String option = OPTIONS.get(key);
            if (option != null) {
                properties.setProperty("pgentra." + option, value);
            } else if (key.equals("scope")) {
                properties.setProperty("azure.scopes", value);
            }
        });
        properties.remove("pgentra.credential");
        if (credential) {
            put(properties, "pgentra.credential", own.get("credential"));
            put(properties, "azure.clientId", value("credential.clientid"));
            put(properties, "azure.clientSecret", value("credential.clientsecret"));
            put(properties, "azure.clientCertificatePath", value("credential.clientcertificatepath"));
            put(properties, "azure.clientCertificatePassword", value("credential.clientcertificatepassword"));
            put(properties, "azure.managedIdentityEnabled", value("credential.managedidentityenabled"));
            put(properties, "azure.tenantId", value("profile.tenantid"));
            put(properties, "azure.authorityHost", value("profile.environment.activedirectoryendpoint"));
        }
        put(properties, "azure.scopes", value("scopes"));
        cloud(properties, credential);
        return properties;
    }

    /** Adds what the cloud's name stands for. Without one, it follows from the server's name. */
    private void cloud(Properties properties, boolean credential) {
        String given = value("profile.cloudtype");
        if (given == null || uniform(given).equals("other")) {
            return;
        }
        String scope = SCOPES.get(uniform(given));
        if (scope == null) {
            throw new EntraConfigurationException(
                    "The cloud type " + given + " is unknown",
                    "Set profile.cloud-type to azure, azure_china, azure_us_government or other.");
        }
        properties.putIfAbsent("azure.scopes", scope);
        if (credential && !uniform(given).equals("azure")) {
            properties.putIfAbsent("azure.authorityHost", AUTHORITY_HOSTS.get(uniform(given)));
        }
    }

    private static void put(Properties properties, String key, String value) {
        if (value != null) {
            properties.setProperty(key, value);
        }
    }
}
