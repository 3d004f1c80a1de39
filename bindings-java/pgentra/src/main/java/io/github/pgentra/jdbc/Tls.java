package io.github.pgentra.jdbc;

import io.github.pgentra.EntraException;
import io.github.pgentra.internal.ConnectionOptions;
import io.github.pgentra.internal.Errors;
import io.github.pgentra.internal.Library;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;

/** When a connection of pgjdbc uses TLS. */
public final class Tls {
    /** pgjdbc's default. It does not ensure TLS. */
    static final String DEFAULT = "prefer";

    private Tls() {}

    /**
     * Returns the mode in effect in lower case, because pgjdbc ignores its case. pgjdbc's default is prefer, and {@code ssl}
     * without a mode is verify-full. Encryption by GSSAPI would replace TLS, so it counts as the default.
     */
    static String mode(Properties properties) {
        String encryption = properties.getProperty("gssEncMode", "disable");
        if (encryption.equalsIgnoreCase("prefer") || encryption.equalsIgnoreCase("require")) {
            return DEFAULT;
        }
        String mode = properties.getProperty("sslmode");
        if (mode != null && !mode.isBlank()) {
            return mode.strip().toLowerCase(Locale.ROOT);
        }
        String ssl = properties.getProperty("ssl");
        return ssl != null && (ssl.isEmpty() || ssl.equalsIgnoreCase("true")) ? "verify-full" : DEFAULT;
    }

    /**
     * Raises an error if a token could be sent over this connection without TLS. For entry points that cannot change the mode.
     *
     * @param properties the properties of pgjdbc
     * @throws EntraException {@code insecure_transport}
     */
    public static void check(Properties properties) {
        String mode = mode(properties);
        Map<String, Object> arguments = new LinkedHashMap<>();
        arguments.put("host", properties.getProperty("PGHOST"));
        arguments.put("sslmode", mode);
        Map<String, Object> request = request(arguments);
        request.put("allow_insecure_transport", ConnectionOptions.flag(properties, "pgentra.allowInsecureTransport"));
        Object required = Library.planConnection(request).get("sslmode");
        if (required != null && !required.equals(mode)) {
            throw Errors.create(
                    Errors.INSECURE_TRANSPORT,
                    "sslmode=" + mode + " does not ensure TLS, so a token is not sent",
                    "Set sslmode=verify-full in the URL, without gssEncMode, or use EntraDataSource.");
        }
    }

    /** A request for a connection plan. pgjdbc reads no service files and no variables of libpq. */
    static Map<String, Object> request(Map<String, Object> arguments) {
        Map<String, Object> request = new LinkedHashMap<>();
        request.put("arguments", arguments);
        request.put("environment", Map.of());
        request.put("variables", Map.of());
        request.put("service_files", false);
        request.put("unknown_server", true);
        request.put("verifies_certificates", true);
        request.put("spelling", "camel");
        return request;
    }
}
