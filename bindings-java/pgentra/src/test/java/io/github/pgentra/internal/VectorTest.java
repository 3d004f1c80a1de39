package io.github.pgentra.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.pgentra.Emulator;
import io.github.pgentra.EntraException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
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
