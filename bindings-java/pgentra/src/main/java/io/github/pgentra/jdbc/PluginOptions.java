package io.github.pgentra.jdbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.identity.ClientCertificateCredentialBuilder;
import io.github.pgentra.identity.ClientSecretCredentialBuilder;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.DefaultAzureCredentialBuilder;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Json;
import io.github.pgentra.internal.Settings;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Supplier;

/** The options of a URL or of {@link Properties}: those of azure-identity-extensions, and {@code pgentra.*}. */
final class PluginOptions {
    /** The keys that decide about credential, token and TLS. Connections whose values are equal share a provider. */
    static final String[] KEYS = {
        "PGHOST",
        "sslmode",
        "ssl",
        "gssEncMode",
        "azure.clientId",
        "azure.clientSecret",
        "azure.tenantId",
        "azure.clientCertificatePath",
        "azure.clientCertificatePassword",
        "azure.managedIdentityEnabled",
        "azure.authorityHost",
        "azure.scopes",
        "azure.accessTokenTimeoutInSeconds",
        "azure.tokenCredentialCacheEnabled",
        "azure.tokenCredentialProviderClassName",
        "azure.username",
        "azure.password",
        "azure.claims",
        "pgentra.fallbackUsername",
        "pgentra.managementLookup",
        "pgentra.requireEntra",
        "pgentra.allowInsecureTransport",
        "pgentra.mode",
        "pgentra.caFile",
        "pgentra.credential",
    };

    /** Set by the Spring starter and read by it alone, or without effect in azure-identity-extensions too. */
    private static final Set<String> OTHER_KEYS = Set.of("azure.tokenCredentialBeanName");

    private PluginOptions() {}

    /** Returns the settings; {@code classes} says whether a class name of the properties may be loaded. */
    static Settings read(Properties properties, boolean classes) {
        for (String name : properties.stringPropertyNames()) {
            if (name.startsWith("pgentra.") && !List.of(KEYS).contains(name)) {
                throw invalid(name + ": unknown option", "Use one of " + ours() + ".");
            }
            if (name.startsWith("azure.") && !List.of(KEYS).contains(name) && !OTHER_KEYS.contains(name)) {
                System.getLogger("pgentra")
                        .log(System.Logger.Level.WARNING, "The connection property {0} is unknown and ignored", name);
            }
        }
        refuse(properties, "azure.username", "The engine has no password grant; use another credential.");
        refuse(properties, "azure.password", "The engine has no password grant; use another credential.");
        refuse(properties, "azure.claims", "A provider's token requests have no claims; leave it out.");
        Settings settings = new Settings();
        settings.put("host", properties.getProperty("PGHOST"));
        settings.put("fallback_username", properties.getProperty("pgentra.fallbackUsername"));
        settings.put("management_lookup", flag(properties, "pgentra.managementLookup"));
        settings.put("mode", properties.getProperty("pgentra.mode"));
        settings.put("ca_file", properties.getProperty("pgentra.caFile"));
        settings.put("cache", flag(properties, "azure.tokenCredentialCacheEnabled"));
        settings.put("scope", scope(properties.getProperty("azure.scopes")));
        settings.put("timeout", seconds(properties, "azure.accessTokenTimeoutInSeconds"));
        settings.credential(credential(properties, classes));
        return settings;
    }

    static Boolean flag(Properties properties, String name) {
        String value = properties.getProperty(name);
        if (value == null || value.isEmpty()) {
            return null;
        }
        if (!value.equalsIgnoreCase("true") && !value.equalsIgnoreCase("false")) {
            throw invalid(name + ": expected true or false", null);
        }
        return Boolean.valueOf(value);
    }

    private static Number seconds(Properties properties, String name) {
        String value = properties.getProperty(name);
        if (value == null || value.isEmpty()) {
            return null;
        }
        try {
            return Double.valueOf(value);
        } catch (NumberFormatException e) {
            throw invalid(name + ": expected a number of seconds", null);
        }
    }

    private static String scope(String value) {
        if (value != null && value.contains(",")) {
            throw invalid("azure.scopes: more than one scope", "Name the scope of the PostgreSQL server alone.");
        }
        return value == null || value.isBlank() ? null : value.strip();
    }

    /** The credential, as azure-identity-extensions chooses it; each key falls back to the variable of its name. */
    private static Credential credential(Properties properties, boolean classes) {
        String document = properties.getProperty("pgentra.credential");
        String className = properties.getProperty("azure.tokenCredentialProviderClassName");
        if (className != null && !className.isEmpty()) {
            return supplied(className, properties, classes);
        }
        if (document != null) {
            return new JsonCredential(object(document));
        }
        String clientId = property(properties, "azure.clientId", "AZURE_CLIENT_ID");
        String tenantId = property(properties, "azure.tenantId", "AZURE_TENANT_ID");
        String secret = property(properties, "azure.clientSecret", "AZURE_CLIENT_SECRET");
        String certificate = property(properties, "azure.clientCertificatePath", "AZURE_CLIENT_CERTIFICATE_PATH");
        String authority = properties.getProperty("azure.authorityHost");
        if (tenantId != null && clientId != null && secret != null) {
            var builder = new ClientSecretCredentialBuilder().tenantId(tenantId).clientId(clientId).clientSecret(secret);
            return authority == null ? builder.build() : builder.authorityHost(authority).build();
        }
        if (tenantId != null && clientId != null && certificate != null) {
            var builder = new ClientCertificateCredentialBuilder()
                    .tenantId(tenantId)
                    .clientId(clientId)
                    .pemCertificate(certificate);
            String password = property(
                    properties, "azure.clientCertificatePassword", "AZURE_CLIENT_CERTIFICATE_PASSWORD");
            if (password != null) {
                builder.clientCertificatePassword(password);
            }
            return authority == null ? builder.build() : builder.authorityHost(authority).build();
        }
        if (Boolean.TRUE.equals(flag(properties, "azure.managedIdentityEnabled"))) {
            var builder = new ManagedIdentityCredentialBuilder();
            return clientId == null ? builder.build() : builder.clientId(clientId).build();
        }
        var builder = new DefaultAzureCredentialBuilder();
        if (tenantId != null) {
            builder.tenantId(tenantId);
        }
        if (clientId != null) {
            builder.managedIdentityClientId(clientId);
        }
        if (authority != null) {
            builder.authorityHost(authority);
        }
        return builder.build();
    }

    private static String property(Properties properties, String name, String variable) {
        String value = properties.getProperty(name);
        if (value == null || value.isEmpty()) {
            value = System.getProperty(variable, System.getenv(variable));
        }
        return value == null || value.isEmpty() ? null : value;
    }

    private static Map<String, Object> object(String document) {
        try {
            return Json.object(document);
        } catch (IllegalArgumentException | ClassCastException e) {
            throw invalid("pgentra.credential: expected a JSON object", "docs/credentials.md describes it.");
        }
    }

    private static Credential supplied(String className, Properties properties, boolean classes) {
        String name = "azure.tokenCredentialProviderClassName";
        if (!classes && !Boolean.getBoolean("pgentra.allowUrlClasses")) {
            throw invalid(
                    name + ": a class that a URL can name is not loaded",
                    "Start Java with -Dpgentra.allowUrlClasses=true if every URL comes from a trusted source, or use"
                            + " EntraDataSource.");
        }
        try {
            ClassLoader loader = Thread.currentThread().getContextClassLoader();
            Class<?> type = Class.forName(
                    className, false, loader != null ? loader : PluginOptions.class.getClassLoader());
            if (!Supplier.class.isAssignableFrom(type)) {
                throw invalid(name + ": " + className + " is not a java.util.function.Supplier", null);
            }
            Object supplier;
            try {
                supplier = type.getConstructor(Properties.class).newInstance(properties);
            } catch (NoSuchMethodException e) {
                supplier = type.getConstructor().newInstance();
            }
            Object credential = ((Supplier<?>) supplier).get();
            if (credential instanceof Credential ours) {
                return ours;
            }
            throw invalid(
                    name + ": " + className + " returned no credential of io.github.pgentra.identity",
                    "Wrap an azure-core TokenCredential with io.github.pgentra.azure.AzureCredential.of.");
        } catch (ReflectiveOperationException e) {
            throw invalid(name + ": " + className + " could not be constructed (" + e.getClass().getSimpleName() + ")", null);
        }
    }

    private static void refuse(Properties properties, String name, String advice) {
        String value = properties.getProperty(name);
        if (value != null && !value.isEmpty()) {
            throw invalid(name + ": not supported", advice);
        }
    }

    private static String ours() {
        return String.join(", ", List.of(KEYS).stream().filter(key -> key.startsWith("pgentra.")).toList());
    }

    private static EntraException invalid(String message, String advice) {
        return Errors.create(Errors.INVALID_CONFIGURATION, message, advice);
    }

    /** A credential that a JSON document describes. */
    private static final class JsonCredential extends Credential {
        private final Map<String, Object> document;

        private JsonCredential(Map<String, Object> document) {
            this.document = document;
        }

        @Override
        public Map<String, Object> document(List<Credential> members) {
            return document;
        }
    }
}
