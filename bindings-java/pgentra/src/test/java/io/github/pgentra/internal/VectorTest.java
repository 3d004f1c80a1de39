package io.github.pgentra.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.pgentra.Emulator;
import io.github.pgentra.EntraException;
import io.github.pgentra.TokenDecodeException;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.UsernameExtractionException;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.StaticTokenCredentialBuilder;
import io.github.pgentra.jdbc.Tls;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** The cases of tests/vectors, through JNI. The native library of the tests has the feature {@code testing}. */
class VectorTest {
    private static final Path VECTORS = Emulator.root().resolve("tests/vectors");

    @SuppressWarnings("unchecked")
    private static List<Map<String, Object>> cases(String file, String key) throws IOException {
        return (List<Map<String, Object>>) Json.object(Files.readString(VECTORS.resolve(file + ".json"))).get(key);
    }

    private static String name(String file, int index) {
        return file + " " + index;
    }

    private interface Check {
        void check(Map<String, Object> one) throws Exception;
    }

    private static Stream<DynamicTest> tests(String file, String key, Check check) throws IOException {
        List<DynamicTest> tests = new ArrayList<>();
        int index = 0;
        for (Map<String, Object> one : cases(file, key)) {
            tests.add(dynamicTest(name(file + "/" + key, index++), () -> check.check(one)));
        }
        return tests.stream();
    }

    private static Object run(String group, Map<String, Object> one, String folder) {
        return Json.read(Library.runVector(group, write(one), folder));
    }

    /** As {@link Json#write}, with the members that are null. */
    private static String write(Object value) {
        if (value instanceof Map<?, ?> map) {
            return "{" + String.join(
                    ",", map.entrySet().stream()
                            .map(entry -> Json.write(entry.getKey()) + ":" + write(entry.getValue()))
                            .toList()) + "}";
        }
        if (value instanceof List<?> list) {
            return "[" + String.join(",", list.stream().map(VectorTest::write).toList()) + "]";
        }
        return Json.write(value);
    }

    @TestFactory
    Stream<DynamicTest> refreshState() throws IOException {
        return tests("timing", "cases", one -> {
            List<Object> expected = new ArrayList<>();
            for (Object step : (List<?>) one.get("steps")) {
                expected.add(((Map<?, ?>) step).get("expect"));
            }
            assertEquals(expected, run("timing", one, ""));
        });
    }

    @TestFactory
    Stream<DynamicTest> refreshPoints() throws IOException {
        return tests("timing", "refresh_points", one -> {
            Map<?, ?> found = (Map<?, ?>) run("refresh_points", one, "");
            assertEquals(one.get("from"), found.get("from"));
            assertEquals(one.get("to"), found.get("to"));
        });
    }

    @TestFactory
    Stream<DynamicTest> resourceIds() throws IOException {
        return tests(
                "claims", "resource_ids", one -> assertEquals(one.get("identity_name"), run("resource_ids", one, "")));
    }

    @TestFactory
    Stream<DynamicTest> createRole() throws IOException {
        return tests("claims", "create_role", one -> assertEquals(one.get("statement"), run("create_role", one, "")));
    }

    @TestFactory
    Stream<DynamicTest> resources() throws IOException {
        return tests("clouds", "resources", one -> assertEquals(one.get("resource"), run("resources", one, "")));
    }

    @TestFactory
    Stream<DynamicTest> loginErrors() throws IOException {
        return tests("login_errors", "login_errors", one -> {
            String state = (String) one.get("sqlstate");
            String message = (String) one.get("message");
            Map<?, ?> expected = one.get("expect") instanceof Map<?, ?> map ? map : one;
            assertEquals(
                    expected.get("cause"), Library.text(Native.LOGIN_ERROR_CAUSE, state, message));
            assertEquals(expected.get("retry"), Library.isRetriable(state, message));
        });
    }

    @TestFactory
    Stream<DynamicTest> connectionStrings() throws IOException {
        return tests("connections", "strings", one -> {
            String text = (String) one.get("text");
            if (text.indexOf('\0') >= 0) {
                return;
            }
            String form = (String) one.getOrDefault("form", "libpq");
            if (one.get("error") != null) {
                assertThrows(EntraException.class, () -> Library.readConnection(text, form));
            } else {
                assertEquals(one.get("settings"), Library.readConnection(text, form));
            }
        });
    }

    /** A text, or texts and repetitions. */
    private static String joined(Object token) {
        if (token instanceof String text) {
            return text;
        }
        StringBuilder joined = new StringBuilder();
        for (Object part : (List<?>) token) {
            joined.append(part instanceof Map<?, ?> map
                    ? map.get("repeat").toString().repeat(((Number) map.get("times")).intValue())
                    : part);
        }
        return joined.toString();
    }

    private static String token(Object claims) {
        byte[] payload = write(claims).getBytes(StandardCharsets.UTF_8);
        return "e30." + Base64.getUrlEncoder().withoutPadding().encodeToString(payload) + ".sig";
    }

    private static void checkParts(Map<String, Object> one, String text) {
        for (Object part : (List<?>) one.getOrDefault("contains", List.of())) {
            assertTrue(text.contains(part.toString()), text);
        }
        for (Object part : (List<?>) one.getOrDefault("lacks", List.of())) {
            assertFalse(text.contains(part.toString()), text);
        }
    }

    @TestFactory
    Stream<DynamicTest> tokens() throws IOException {
        return tests("claims", "tokens", one -> {
            String token = joined(one.get("token"));
            if (one.get("claims") != null) {
                assertEquals(one.get("claims"), Json.read(Library.text(Native.DECODE_JWT, token)));
            }
            Map<String, Object> described = Json.object(Library.describeToken(token));
            Map<?, ?> expected = (Map<?, ?>) one.get("expect");
            Map<?, ?> role = described.get("role") == null ? Map.of() : (Map<?, ?>) described.get("role");
            assertEquals(expected.get("role"), role.get("name"));
            assertEquals(expected.get("source"), role.get("source"));
            for (String key : List.of("kind", "oid", "tid", "appid")) {
                if (expected.get(key) != null) {
                    assertEquals(expected.get(key), ((Map<?, ?>) described.get("principal")).get(key), key);
                }
            }
            assertEquals(expected.get("audience"), described.get("audience"));
        });
    }

    @TestFactory
    Stream<DynamicTest> tokensOfLogins() throws IOException {
        return tests("claims", "tokens", one -> {
            Object role = ((Map<?, ?>) one.get("expect")).get("role");
            String token = joined(one.get("token"));
            // Whitespace around a token is removed when it is decoded, not when it is sent.
            if (role == null || !token.equals(token.strip())) {
                return;
            }
            Credential credential = new StaticTokenCredentialBuilder()
                    .token(token)
                    .expiresOn(Instant.now().plusSeconds(3600))
                    .build();
            try (var provider = TokenProvider.builder()
                    .credential(credential)
                    .managementLookup(false)
                    .environment(Map.of())
                    .build()) {
                assertEquals(role, provider.login().user());
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> largeTokens() throws IOException {
        return tests("claims", "large", one -> {
            String token = joined(one.get("token"));
            if (one.get("error") != null) {
                assertThrows(TokenDecodeException.class, () -> Library.text(Native.DECODE_JWT, token));
            } else {
                assertEquals(one.get("role"), Json.object(Library.text(Native.DECODE_JWT, token)).get("upn"));
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> rejectedTokens() throws IOException {
        return tests("claims", "rejected", one -> {
            String token = joined(one.get("token"));
            if (token.indexOf('\0') >= 0) {
                return;
            }
            EntraException error =
                    assertThrows(TokenDecodeException.class, () -> Library.text(Native.DECODE_JWT, token));
            assertTrue(error.getMessage().startsWith("Invalid JWT token format"), error.getMessage());
            assertTrue(token.length() < 8 || !error.toString().contains(token));
        });
    }

    @TestFactory
    Stream<DynamicTest> principalNames() throws IOException {
        return tests("claims", "resource_ids", one -> assertEquals(
                one.get("parse_principal_name"),
                Library.text(Native.PARSE_PRINCIPAL_NAME, (String) one.get("xms_mirid"))));
    }

    @TestFactory
    Stream<DynamicTest> missingNames() throws IOException {
        return tests("claims", "missing_names", one -> {
            Credential credential = new StaticTokenCredentialBuilder()
                    .token(token(one.get("claims")))
                    .expiresOn(Instant.now().plusSeconds(3600))
                    .build();
            try (var provider = TokenProvider.builder()
                    .credential(credential)
                    .managementLookup((Boolean) one.get("management_tried"))
                    .environment(Map.of())
                    .build()) {
                checkParts(one, assertThrows(UsernameExtractionException.class, provider::login).getMessage());
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> clouds() throws IOException {
        return tests("clouds", "cases", one -> {
            Map<?, ?> inputs = (Map<?, ?>) one.get("inputs");
            String[] given = Stream.of(
                            "scope_option", "host", "authority_option", "cloud_option", "env_authority_host")
                    .map(key -> (String) inputs.get(key))
                    .toArray(String[]::new);
            if (one.get("error") != null) {
                EntraException error =
                        assertThrows(EntraException.class, () -> Library.text(Native.RESOLVE_CLOUD, given));
                assertEquals("invalid_configuration", error.code());
                return;
            }
            Map<String, Object> resolved = Json.object(Library.text(Native.RESOLVE_CLOUD, given));
            Map<?, ?> expected = (Map<?, ?>) one.get("expect");
            for (String key : List.of("cloud", "scope", "management_scope", "authority_host")) {
                assertEquals(expected.get(key), resolved.get(key), key);
            }
            if (expected.get("warning") instanceof List<?> parts) {
                for (Object part : parts) {
                    assertTrue(resolved.get("warning").toString().contains(part.toString()));
                }
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> explanations() throws IOException {
        return tests("login_errors", "explanations", one -> {
            String text = (String) run("explanations", one, "");
            checkParts(one, text);
            assertEquals("not_a_login".equals(one.get("cause")), text.isEmpty());
        });
    }

    private static Map<String, Object> plan(Map<String, Object> request) {
        request.putIfAbsent("environment", Map.of());
        return Json.object(Library.text(Native.CONNECTION_PLAN, write(request)));
    }

    @TestFactory
    Stream<DynamicTest> sslmodes() throws IOException {
        return tests("tls", "cases", one -> {
            boolean isKnown = one.get("hosts") instanceof List;
            Map<String, Object> arguments = new LinkedHashMap<>();
            arguments.put("host", isKnown ? String.join(",", texts(one.get("hosts"))) : null);
            arguments.put("sslmode", one.get("sslmode"));
            Map<String, Object> request = new LinkedHashMap<>();
            request.put("arguments", arguments);
            request.put("variables", Map.of());
            request.put("service_files", false);
            request.put("unknown_server", !isKnown);
            request.put("allow_insecure_transport", one.getOrDefault("allow_insecure", false));
            if (one.get("result") instanceof Map<?, ?> error) {
                assertEquals(error.get("error"), assertThrows(EntraException.class, () -> plan(request)).code());
            } else {
                assertEquals(one.get("result"), plan(request).get("sslmode"));
            }
        });
    }

    /** The rule with pgjdbc's default, in the plugin: a mode that would be raised is refused. */
    @TestFactory
    Stream<DynamicTest> sslmodesOfThePlugin() throws IOException {
        return tests("tls", "cases", one -> {
            Properties properties = new Properties();
            List<String> hosts = texts(one.get("hosts") instanceof List ? one.get("hosts") : List.of());
            if (!hosts.isEmpty()) {
                properties.setProperty("PGHOST", String.join(",", hosts));
            }
            if (one.get("sslmode") != null) {
                properties.setProperty("sslmode", one.get("sslmode").toString());
            }
            properties.setProperty(
                    "pgentra.allowInsecureTransport", one.getOrDefault("allow_insecure", false).toString());
            // Without a host the server is not known to the plugin.
            boolean isRemote = String.join("", hosts).isEmpty() && one.get("hosts") instanceof List;
            if (isRemote) {
                return;
            }
            if (one.get("result") == null) {
                Tls.check(properties);
            } else {
                EntraException error = assertThrows(EntraException.class, () -> Tls.check(properties));
                assertEquals("insecure_transport", error.code());
            }
        });
    }

    private static List<String> texts(Object list) {
        return ((List<?>) list).stream().map(String::valueOf).toList();
    }

    @TestFactory
    Stream<DynamicTest> connectionPlans() throws IOException {
        String folder = VECTORS.resolve("services").toString();
        return tests("connections", "plans", one -> {
            Map<String, Object> placed = Json.object(write(one).replace("{files}", folder));
            @SuppressWarnings("unchecked")
            Map<String, Object> request = (Map<String, Object>) placed.get("request");
            request.put("repeat_warnings", true);
            @SuppressWarnings("unchecked")
            Map<String, Object> expected = (Map<String, Object>) placed.get("result");
            if (expected.get("error") != null) {
                EntraException error = assertThrows(EntraException.class, () -> plan(request));
                assertEquals(expected.get("error"), error.code(), error.getMessage());
                checkParts(expected, error.getMessage());
                assertFalse(error.toString().contains("pa55word"));
                return;
            }
            Map<String, Object> plan = plan(request);
            List<String> warnings = texts(plan.get("warnings"));
            expected.forEach((key, value) -> {
                if (key.equals("warns")) {
                    List<String> parts = texts(value);
                    assertEquals(parts.size(), warnings.size(), warnings.toString());
                    for (int i = 0; i < parts.size(); i++) {
                        assertTrue(warnings.get(i).contains(parts.get(i)), warnings.get(i));
                    }
                } else {
                    assertEquals(value, plan.get(key), key);
                }
            });
            assertFalse(warnings.toString().contains("pa55word"));
        });
    }

    private static void checkOutcome(String group, Map<String, Object> one, Object error, Object result) {
        if (error == null) {
            assertEquals(result, run(group, one, ""));
            return;
        }
        EntraException raised = assertThrows(EntraException.class, () -> run(group, one, ""));
        if (error instanceof Map<?, ?> wanted) {
            Object code = wanted.get("code") != null ? wanted.get("code") : wanted.get("kind");
            if (code != null) {
                assertEquals(code, raised.code(), raised.getMessage());
            }
            if (wanted.get("headline") != null) {
                assertTrue(raised.getMessage().contains(wanted.get("headline").toString()), raised.getMessage());
            }
            if (wanted.get("aadsts") != null) {
                assertEquals(((Number) wanted.get("aadsts")).intValue(), raised.aadsts());
            }
        } else {
            assertEquals(error, raised.code(), raised.getMessage());
        }
        assertFalse(raised.toString().contains("canary"), raised.getMessage());
    }

    @TestFactory
    Stream<DynamicTest> customCredentialResponses() throws IOException {
        return tests("bindings", "responses", one -> checkOutcome("responses", one, one.get("error"), one.get("token")));
    }

    @TestFactory
    Stream<DynamicTest> credentialHandles() throws IOException {
        return tests("bindings", "handles", one -> {
            Map<String, Object> expected = new LinkedHashMap<>();
            expected.put("document", one.get("document"));
            expected.put("custom_credentials", one.get("custom_credentials"));
            checkOutcome("handles", one, one.get("error"), expected);
        });
    }

    @TestFactory
    Stream<DynamicTest> entraErrors() throws IOException {
        return tests("entra-errors", "cases", one -> checkOutcome("entra-errors", one, one.get("error"), null));
    }

    @Test
    void errorKindsHaveTheirClasses() {
        for (Object kind : (List<?>) Json.read(Library.text(Native.ERROR_KINDS))) {
            Map<?, ?> entry = (Map<?, ?>) kind;
            EntraException error = Errors.create(((Number) entry.get("number")).intValue(), "m", "a");
            assertEquals(entry.get("code"), error.code());
            String expected = entry.get("class").toString().replace("ValueError", "").replace("Error", "");
            assertTrue(
                    error.getClass().getSimpleName().replace("Value", "").startsWith(expected.replace("PgEntra", "Entra")),
                    error.getClass() + " for " + entry);
        }
    }

    @TestFactory
    Stream<DynamicTest> credentials() throws IOException {
        List<Stream<DynamicTest>> tests = new ArrayList<>();
        try (Stream<Path> files = Files.list(VECTORS.resolve("credentials"))) {
            for (Path file : files.filter(path -> path.toString().endsWith(".json")).sorted().toList()) {
                String name = "credentials/" + file.getFileName().toString().replace(".json", "");
                tests.add(tests(name, "cases", VectorTest::checkCredential));
            }
        }
        return tests.stream().flatMap(stream -> stream);
    }

    private static void checkCredential(Map<String, Object> one) throws IOException {
        Path folder = Files.createTempDirectory("pgentra-vectors-");
        try {
            String text = write(one).replace("{dir}", folder.toString());
            Map<String, Object> placed = Json.object(text);
            Object expected = placed.get("build_error") != null ? placed.get("build_error") : placed.get("error");
            if (expected instanceof Map<?, ?> error) {
                EntraException raised = assertThrows(
                        EntraException.class, () -> Library.runVector("credentials", text, folder.toString()));
                Object kind = error.get("kind");
                if (kind != null) {
                    assertEquals(kind, raised.code(), raised.getMessage());
                }
                return;
            }
            Map<String, Object> token = Json.object(Library.runVector("credentials", text, folder.toString()));
            Map<?, ?> wanted = (Map<?, ?>) placed.get("token");
            wanted.forEach((key, value) -> assertEquals(value, token.get(key), String.valueOf(key)));
        } finally {
            try (Stream<Path> paths = Files.walk(folder)) {
                paths.sorted(java.util.Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
            }
        }
    }
}
