package io.github.pgentra.internal;

import io.github.pgentra.EntraException;
import io.github.pgentra.identity.ClientCertificateCredentialBuilder;
import io.github.pgentra.identity.ClientSecretCredentialBuilder;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.CredentialConverter;
import io.github.pgentra.identity.DefaultAzureCredentialBuilder;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

/** The options of a URL or of {@link Properties}: those of azure-identity-extensions, and {@code pgentra.*}. */
public final class ConnectionOptions {
    /** The key of a class that supplies the credential. */
    public static final String CLASS_NAME = "azure.tokenCredentialProviderClassName";
    private static final String BEAN_NAME = "azure.tokenCredentialBeanName";
    private static final String DOCUMENT = "pgentra.credential";

    /** The keys that decide about TLS. */
    private static final List<String> TLS_KEYS = List.of("PGHOST", "sslmode", "ssl", "gssEncMode");

    /** The keys that select a credential. */
    private static final List<String> CREDENTIAL_KEYS = List.of(
            "azure.clientId",
            "azure.clientSecret",
            "azure.tenantId",
            "azure.clientCertificatePath",
            "azure.clientCertificatePassword",
            "azure.managedIdentityEnabled",
            "azure.authorityHost",
            CLASS_NAME,
            DOCUMENT);

    private static final List<String> OTHER_KEYS = List.of(
            "azure.scopes",
            "azure.accessTokenTimeoutInSeconds",
            "azure.tokenCredentialCacheEnabled",
            BEAN_NAME,
            "azure.username",
            "azure.password",
            "azure.claims",
            "pgentra.fallbackUsername",
            "pgentra.managementLookup",
            "pgentra.requireEntra",
            "pgentra.ignorePassword",
            "pgentra.allowInsecureTransport",
            "pgentra.mode",
            "pgentra.caFile");

    /** The keys that decide about credential, token and TLS. Connections whose values are equal share a provider. */
    public static final String[] KEYS = concat(TLS_KEYS, CREDENTIAL_KEYS, OTHER_KEYS);

    private static final Set<String> KNOWN = Set.of(KEYS);

    /** The server ends a login that takes longer than 60 s, so that a token that comes later is of no use. */
    private static final double LONGEST_WAIT = 55;

    private static final Set<String> WARNED = ConcurrentHashMap.newKeySet();

    private ConnectionOptions() {}

    @SafeVarargs
    private static String[] concat(List<String>... lists) {
        return Arrays.stream(lists).flatMap(List::stream).toArray(String[]::new);
    }

    /** Where the options come from, which decides what they may do. */
    public enum Source {
        /** The plugin, which cannot tell a URL from properties. */
        PLUGIN,
        /** The URL of a data source. */
        URL,
        /** The properties of a data source. */
        PROPERTIES,
    }

    /** Returns whether a key is one of this library's or of azure-identity-extensions, so that the driver does not need it. */
    public static boolean isOption(String name) {
        return name.startsWith("pgentra.") || name.startsWith("azure.");
    }

    /** Returns whether the properties, but not their defaults, have an option that {@link #read} reports as unknown. */
    public static boolean hasUnknown(Properties properties) {
        for (Object key : properties.keySet()) {
            if (key instanceof String name && isOption(name) && !KNOWN.contains(name)) {
                return true;
            }
        }
        return false;
    }

    /** Raises an error for an unknown option of this library, and warns once of one of {@code azure.*}. */
    public static void checkNames(Properties properties) {
        for (String name : properties.stringPropertyNames()) {
            if (KNOWN.contains(name)) {
                continue;
            }
            if (name.startsWith("pgentra.")) {
                String known = String.join(", ", Arrays.stream(KEYS).filter(key -> key.startsWith("pgentra.")).toList());
                throw invalid(name + ": unknown option", "Use one of " + known + ".");
            }
            if (name.startsWith("azure.")) {
                warn("The connection property " + name + " is unknown and ignored.");
            }
        }
    }

    /** Logs a warning, once per process. */
    public static void warn(String message) {
        // A program that makes up property names must not fill the memory.
        if (WARNED.size() < 1000 && WARNED.add(message)) {
            System.getLogger("pgentra").log(System.Logger.Level.WARNING, message);
        }
    }

    /**
     * Returns the settings.
     *
     * @param variables the environment, or null for that of the process
     * @param classes where a class name of the properties comes from
     * @param given the credential of the application, or null
     */
    public static Settings read(Properties properties, Map<String, String> variables, Source classes, Credential given) {
        checkNames(properties);
        String password = "Entra no longer accepts a user name and password. Use a service principal (azure.tenantId,"
                + " azure.clientId, azure.clientSecret) or azure.managedIdentityEnabled=true.";
        refuse(properties, "azure.username", password);
        refuse(properties, "azure.password", password);
        refuse(
                properties,
                "azure.claims",
                "Remove it: the tokens of a provider are requested without claims. Credential.getToken accepts claims in a"
                        + " TokenRequest.");
        if (given == null) {
            refuse(
                    properties,
                    BEAN_NAME,
                    "A bean is only known to pgentra-spring-boot-starter. Use it, or pass the credential to"
                            + " EntraDataSource.builder(url).credential(...).");
        }
        Settings settings = new Settings();
        settings.put("host", properties.getProperty("PGHOST"));
        settings.put("fallback_username", text(properties, "pgentra.fallbackUsername"));
        settings.put("management_lookup", flag(properties, "pgentra.managementLookup"));
        settings.put("mode", text(properties, "pgentra.mode"));
        settings.put("ca_file", text(properties, "pgentra.caFile"));
        settings.put("cache", flag(properties, "azure.tokenCredentialCacheEnabled"));
        settings.put("scope", scope(properties.getProperty("azure.scopes")));
        settings.put("timeout", seconds(properties, "azure.accessTokenTimeoutInSeconds"));
        settings.environment(variables);
        settings.credential(given != null ? alone(given, properties) : credential(properties, variables, classes));
        return settings;
    }

    /**
     * Returns the settings of a builder with the options of properties, which count where the builder has none.
     *
     * @param own the settings of the builder
     * @param classes where a class name of the properties comes from
     */
    public static Settings merge(Settings own, Properties properties, Source classes) {
        Settings merged = own.copy();
        Settings options = read(properties, own.variables(), classes, own.credential());
        for (String key : List.of(
                "host", "fallback_username", "management_lookup", "mode", "ca_file", "cache", "scope", "timeout")) {
            if (merged.get(key) == null) {
                merged.put(key, options.get(key));
            }
        }
        merged.credential(options.credential());
        return merged;
    }

    /** Returns a property that is true or false, or null. */
    public static Boolean flag(Properties properties, String name) {
        String value = text(properties, name);
        if (value == null) {
            return null;
        }
        if (!value.equalsIgnoreCase("true") && !value.equalsIgnoreCase("false")) {
            throw invalid(name + ": expected true or false", null);
        }
        return Boolean.valueOf(value);
    }

    private static String text(Properties properties, String name) {
        String value = properties.getProperty(name);
        return value == null || value.isBlank() ? null : value.strip();
    }

    private static Number seconds(Properties properties, String name) {
        String value = text(properties, name);
        if (value == null) {
            return null;
        }
        try {
            double seconds = Double.parseDouble(value);
            if (seconds > 0) {
                return Math.min(seconds, LONGEST_WAIT);
            }
        } catch (NumberFormatException e) {
            // The error below.
        }
        throw invalid(name + ": expected a positive number of seconds", null);
    }

    private static String scope(String value) {
        if (value == null) {
            return null;
        }
        List<String> scopes = Arrays.stream(value.split(",")).map(String::strip).filter(one -> !one.isEmpty()).toList();
        if (scopes.size() > 1) {
            throw invalid("azure.scopes: more than one scope", "Name the scope of the PostgreSQL server alone.");
        }
        return scopes.isEmpty() ? null : scopes.get(0);
    }

    /** The application's own credential excludes those of the properties. */
    private static Credential alone(Credential given, Properties properties) {
        for (String key : CREDENTIAL_KEYS) {
            if (text(properties, key) != null) {
                throw invalid(
                        key + ": the connection has this property, and the application passed a credential",
                        "Remove the property or the credential.");
            }
        }
        return given;
    }

    /** The credential, as azure-identity-extensions chooses it; most keys fall back to the variable of their name. */
    private static Credential credential(Properties properties, Map<String, String> variables, Source classes) {
        String className = text(properties, CLASS_NAME);
        String document = text(properties, DOCUMENT);
        if (className != null || document != null) {
            String chosen = className != null ? CLASS_NAME : DOCUMENT;
            for (String key : CREDENTIAL_KEYS) {
                // The class receives all properties, and can read these.
                if (!key.equals(chosen) && text(properties, key) != null && (className == null || key.equals(DOCUMENT))) {
                    throw invalid(
                            chosen + ": the connection also has the property " + key, "Remove one of the two properties.");
                }
            }
            return className != null
                    ? supplied(className, properties, classes)
                    : new JsonCredential(object(document));
        }
        String clientId = property(properties, variables, "azure.clientId", "AZURE_CLIENT_ID");
        String tenantId = property(properties, variables, "azure.tenantId", "AZURE_TENANT_ID");
        String authority = text(properties, "azure.authorityHost");
        if (tenantId != null && clientId != null) {
            String secret = property(properties, variables, "azure.clientSecret", "AZURE_CLIENT_SECRET");
            if (secret != null) {
                var builder = new ClientSecretCredentialBuilder().tenantId(tenantId).clientId(clientId).clientSecret(secret);
                return authority == null ? builder.build() : builder.authorityHost(authority).build();
            }
            String certificate =
                    property(properties, variables, "azure.clientCertificatePath", "AZURE_CLIENT_CERTIFICATE_PATH");
            if (certificate != null) {
                var builder = new ClientCertificateCredentialBuilder()
                        .tenantId(tenantId)
                        .clientId(clientId)
                        .pemCertificate(certificate);
                String password = text(properties, "azure.clientCertificatePassword");
                if (password == null && text(properties, "azure.clientCertificatePath") == null) {
                    password = variable(variables, "AZURE_CLIENT_CERTIFICATE_PASSWORD");
                }
                if (password != null) {
                    builder.clientCertificatePassword(password);
                }
                return authority == null ? builder.build() : builder.authorityHost(authority).build();
            }
        }
        for (String key : List.of("azure.clientSecret", "azure.clientCertificatePath", "azure.clientCertificatePassword")) {
            if (text(properties, key) != null) {
                throw invalid(
                        key + ": the credential is not complete, so it is not used",
                        "Set azure.tenantId, azure.clientId and one of azure.clientSecret and azure.clientCertificatePath.");
            }
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

    /** As azure-identity-extensions: a property that is set to nothing hides the variable. */
    private static String property(Properties properties, Map<String, String> variables, String name, String variable) {
        return properties.getProperty(name) != null ? text(properties, name) : variable(variables, variable);
    }

    private static String variable(Map<String, String> variables, String name) {
        String value = variables != null ? variables.get(name) : System.getProperty(name, System.getenv(name));
        return value == null || value.isBlank() ? null : value;
    }

    private static Map<String, Object> object(String document) {
        try {
            return Json.object(document);
        } catch (IllegalArgumentException | ClassCastException e) {
            throw invalid(DOCUMENT + ": expected a JSON object", "docs/credentials.md describes it.");
        }
    }

    /**
     * Constructs the class and returns its credential. The class is loaded without initializing it, and only constructed
     * when it is known to be a supplier: a URL must not run the static initializer of any class.
     */
    private static Credential supplied(String className, Properties properties, Source classes) {
        boolean allowed = Boolean.getBoolean("pgentra.allowUrlClasses");
        if (classes == Source.PLUGIN && !allowed) {
            throw invalid(
                    CLASS_NAME + ": a class that a URL can name is not loaded",
                    "Start Java with -Dpgentra.allowUrlClasses=true if every URL comes from a trusted source, or use"
                            + " EntraDataSource and set the class in its properties.");
        }
        if (classes == Source.URL && !allowed) {
            throw invalid(
                    CLASS_NAME + ": a class that the URL names is not loaded",
                    "Set it in the properties of EntraDataSource instead of the URL, or start Java with"
                            + " -Dpgentra.allowUrlClasses=true if every URL comes from a trusted source.");
        }
        Object credential;
        try {
            Class<?> type = Class.forName(className, false, loader());
            if (!Supplier.class.isAssignableFrom(type)) {
                throw invalid(CLASS_NAME + ": " + className + " is not a java.util.function.Supplier", null);
            }
            credential = ((Supplier<?>) construct(type, properties)).get();
        } catch (ClassNotFoundException | LinkageError e) {
            throw Errors.create(
                    Errors.INVALID_CONFIGURATION,
                    CLASS_NAME + ": " + className + " was not found or not loaded (" + e.getClass().getSimpleName() + ")",
                    "Add the class and what it needs to the class path.",
                    e);
        } catch (InvocationTargetException e) {
            throw failed(className, e.getCause());
        } catch (ReflectiveOperationException e) {
            throw invalid(
                    CLASS_NAME + ": " + className + " has no public constructor of java.util.Properties or without parameters",
                    "Make the class and one of these constructors public.");
        } catch (EntraException e) {
            throw e;
        } catch (RuntimeException e) {
            throw failed(className, e);
        }
        if (credential instanceof Credential ours) {
            return ours;
        }
        if (credential instanceof io.github.pgentra.TokenSource source) {
            return Credential.of(source);
        }
        for (CredentialConverter converter :
                ServiceLoader.load(CredentialConverter.class, ConnectionOptions.class.getClassLoader())) {
            Credential converted = credential == null ? null : converter.convert(credential);
            if (converted != null) {
                return converted;
            }
        }
        throw invalid(
                CLASS_NAME + ": " + className + " returned "
                        + (credential == null ? "null" : "a " + credential.getClass().getName()) + ", which is not a credential",
                "Return a credential of io.github.pgentra.identity, or add pgentra-azure for a TokenCredential of azure-core.");
    }

    private static Object construct(Class<?> type, Properties properties) throws ReflectiveOperationException {
        for (Constructor<?> constructor : type.getConstructors()) {
            if (Arrays.equals(constructor.getParameterTypes(), new Class<?>[] {Properties.class})) {
                return constructor.newInstance(properties);
            }
        }
        return type.getConstructor().newInstance();
    }

    private static EntraException failed(String className, Throwable cause) {
        return Errors.create(
                Errors.INVALID_CONFIGURATION,
                CLASS_NAME + ": " + className + " failed: " + cause.getClass().getName(),
                "Its exception is the cause.",
                cause);
    }

    /** The class loader of a class that the properties name. */
    public static ClassLoader loader() {
        ClassLoader loader = Thread.currentThread().getContextClassLoader();
        return loader != null ? loader : ConnectionOptions.class.getClassLoader();
    }

    private static void refuse(Properties properties, String name, String advice) {
        if (text(properties, name) != null) {
            throw invalid(name + ": not supported", advice);
        }
    }

    private static EntraException invalid(String message, String advice) {
        return Errors.create(Errors.INVALID_CONFIGURATION, message, advice);
    }

    /** Returns the credential of a JSON document. */
    public static Credential credential(Map<String, Object> document) {
        return new JsonCredential(document);
    }

    /** A credential that a JSON document describes. */
    private static final class JsonCredential extends Credential {
        private final Map<String, Object> document;

        JsonCredential(Map<String, Object> document) {
            this.document = document;
        }

        @Override
        public Map<String, Object> document(List<Credential> members) {
            return document;
        }

        @Override
        public String toString() {
            return "Credential[" + document.get("type") + "]";
        }
    }
}
