package io.github.pgentra;

import io.github.pgentra.internal.Json;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * The emulator as a child process, one for the whole run, and a client of its control endpoint. emulator/README.md is the
 * reference. The variables of the emulator are set as Java system properties, which win over those of the process.
 */
public final class Emulator implements BeforeEachCallback {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static Process process;
    private static Map<String, Object> addresses;
    private static int principals;

    /** A principal of one test, for which no token is cached. */
    public record Principal(String name, String oid, String clientId, String secret) {}

    @Override
    public void beforeEach(ExtensionContext context) throws Exception {
        start();
        reset();
    }

    private static synchronized void start() throws IOException {
        if (process != null) {
            return;
        }
        String binary = System.getenv("PGENTRA_EMULATOR");
        process = new ProcessBuilder(binary == null ? root().resolve("target/debug/pgentra-emulator").toString() : binary)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroy));
        BufferedReader output = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        addresses = Json.object(output.readLine());
    }

    /** Removes all faults, recorded requests and settings. */
    public static void reset() {
        for (String name : System.getProperties().stringPropertyNames()) {
            // The names of Java itself have small letters.
            if (name.matches("[A-Z_]+")) {
                System.clearProperty(name);
            }
        }
        environment().forEach(System::setProperty);
        call("DELETE", "/faults", null);
        call("DELETE", "/requests", null);
        Map<String, Object> settings = object(call("GET", "/tokens", null));
        String cleared = "{" + String.join(",", settings.keySet().stream().map(key -> "\"" + key + "\":null").toList()) + "}";
        callText("PATCH", "/tokens", cleared);
        controlPostgres(Map.of("reset", true));
    }

    /** The variables of a program that uses the emulator's App Service identity. */
    public static Map<String, String> environment() {
        Map<String, String> variables = new LinkedHashMap<>();
        variables.put("IDENTITY_ENDPOINT", text("app_service", "endpoint"));
        variables.put("IDENTITY_HEADER", text("app_service", "header"));
        variables.put("SSL_CERT_FILE", text("bundle_file"));
        variables.put("NO_PROXY", "localhost,127.0.0.1,::1");
        return variables;
    }

    public static String text(String... path) {
        Object value = addresses;
        for (String key : path) {
            value = object(value).get(key);
        }
        return String.valueOf(value);
    }

    /** The JDBC URL of the emulator's PostgreSQL proxy, with verified TLS and without a user. */
    public static String url() {
        return "jdbc:postgresql://" + text("postgres", "host") + ":" + text("postgres", "port") + "/"
                + text("postgres", "database") + "?sslmode=verify-full&sslrootcert=" + text("ca_file");
    }

    public static Principal add(String kind) {
        return add(kind, Map.of());
    }

    public static Principal add(String kind, Map<String, Object> settings) {
        String name = kind.replace('_', '-') + "-java-" + ProcessHandle.current().pid() + "-" + ++principals;
        Map<String, Object> principal = new LinkedHashMap<>(Map.of("name", name, "kind", kind));
        if (kind.equals("service_principal")) {
            principal.put("client_secret", "secret-of-" + name);
        }
        principal.putAll(settings);
        Map<String, Object> made = object(((List<?>) call("POST", "/principals", List.of(principal))).get(0));
        return new Principal(
                name, (String) made.get("oid"), (String) made.get("appid"), (String) made.get("client_secret"));
    }

    public static String mint(String principal, Map<String, Object> settings) {
        Map<String, Object> body = new LinkedHashMap<>(settings);
        body.put("principal", principal);
        return (String) object(call("POST", "/mint", body)).get("token");
    }

    /** The folder of an {@code az}, an {@code azd} and a {@code pwsh} that a user is signed in to. */
    public static String tools(Principal user) {
        return (String) object(call("POST", "/tools", Map.of("principal", user.name()))).get("path");
    }

    public static void addFault(Map<String, Object> fault) {
        call("POST", "/faults", fault);
    }

    public static void clearFaults() {
        call("DELETE", "/faults", null);
    }

    public static void setTokens(Map<String, Object> settings) {
        call("PATCH", "/tokens", settings);
    }

    public static void controlPostgres(Map<String, Object> settings) {
        call("POST", "/postgres", settings);
    }

    public static Map<String, Object> postgresReport() {
        return object(call("GET", "/postgres", null));
    }

    public static long plaintextBytes() {
        return (Long) object(postgresReport().get("counters")).get("plaintext_password_bytes");
    }

    /** The requests for database tokens of a principal. */
    public static List<Map<String, Object>> requests(Principal principal) {
        List<Map<String, Object>> found = new ArrayList<>();
        for (Object entry : (List<?>) object(call("GET", "/requests", null)).get("requests")) {
            Map<String, Object> request = object(entry);
            if (principal.name().equals(request.get("principal")) && String.valueOf(request.get("resource")).contains("ossrdbms")) {
                found.add(request);
            }
        }
        return found;
    }

    public static Object call(String method, String path, Object body) {
        return callText(method, path, body == null ? null : Json.write(body));
    }

    private static Object callText(String method, String path, String body) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(text("control") + path))
                .header("content-type", "application/json")
                .method(method, body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body));
        try {
            HttpResponse<String> response = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() >= 300) {
                throw new IllegalStateException(method + " " + path + ": " + response.body());
            }
            return response.body().isEmpty() ? Map.of() : Json.read(response.body());
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) {
        return (Map<String, Object>) value;
    }

    /** The repository. */
    public static Path root() {
        Path folder = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(folder.resolve("tests/vectors"))) {
            folder = folder.getParent();
        }
        return folder;
    }
}
