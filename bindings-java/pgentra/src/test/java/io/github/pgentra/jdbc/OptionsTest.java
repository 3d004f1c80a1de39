package io.github.pgentra.jdbc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.pgentra.Emulator;
import io.github.pgentra.EntraException;
import io.github.pgentra.Records;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.internal.ConnectionOptions;
import io.github.pgentra.internal.Json;
import io.github.pgentra.internal.Settings;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.postgresql.plugin.AuthenticationRequestType;

/** The cases of tests/vectors/options-java.json. */
class OptionsTest {
    private interface Check {
        void check(Map<String, Object> one) throws Exception;
    }

    @SuppressWarnings("unchecked")
    private static Stream<DynamicTest> tests(String group, Check check) throws IOException {
        String text = Files.readString(Emulator.root().resolve("tests/vectors/options-java.json"));
        List<Map<String, Object>> cases = (List<Map<String, Object>>) Json.object(text).get(group);
        List<DynamicTest> tests = new ArrayList<>();
        for (Map<String, Object> one : cases) {
            String name = one.containsKey("name") ? one.get("name").toString() : one.get("class") + " " + one.get("calls");
            tests.add(dynamicTest(name, () -> check.check(one)));
        }
        assertFalse(tests.isEmpty());
        return tests.stream();
    }

    private static Map<String, String> texts(Object map) {
        Map<String, String> texts = new LinkedHashMap<>();
        if (map instanceof Map<?, ?> given) {
            given.forEach((key, value) -> texts.put(key.toString(), value.toString()));
        }
        return texts;
    }

    private static void checkError(Map<String, Object> one, EntraException error) {
        assertEquals("invalid_configuration", error.code(), error.getMessage());
        assertTrue(error.getMessage().contains(one.get("refused").toString()), error.getMessage());
        for (Object part : (List<?>) one.getOrDefault("contains", List.of())) {
            assertTrue(error.getMessage().contains(part.toString()), error.getMessage());
        }
        assertFalse((error + " " + error.detail()).contains("canary"), error.getMessage());
    }

    @TestFactory
    Stream<DynamicTest> propertiesBecomeTheConfiguration() throws IOException {
        return tests("properties", one -> {
            Properties properties = new Properties();
            texts(one.get("properties")).forEach(properties::setProperty);
            Map<String, String> variables = texts(one.get("variables"));
            try (Records records = Records.of("pgentra")) {
                if (one.containsKey("refused")) {
                    checkError(one, assertThrows(EntraException.class, () -> ConnectionOptions.read(
                            properties, variables, ConnectionOptions.Source.PLUGIN, null)));
                    return;
                }
                Settings settings = ConnectionOptions.read(properties, variables, ConnectionOptions.Source.PLUGIN, null);
                Map<String, Object> config = new LinkedHashMap<>();
                config.put("credential", settings.credential().document(new ArrayList<>()));
                for (String key : List.of(
                        "host", "scope", "timeout", "cache", "fallback_username", "management_lookup", "mode", "ca_file")) {
                    if (settings.get(key) != null) {
                        config.put(key, settings.get(key));
                    }
                }
                assertEquals(Json.read(Json.write(sorted(one.get("config")))), Json.read(Json.write(sorted(config))));
                List<?> warns = (List<?>) one.getOrDefault("warns", List.of());
                assertEquals(warns.size(), records.messages().size(), records.messages().toString());
                for (int i = 0; i < warns.size(); i++) {
                    assertTrue(records.messages().get(i).contains(warns.get(i).toString()));
                    assertFalse(records.messages().get(i).contains("canary"));
                }
                // Each warning is logged once.
                ConnectionOptions.read(properties, variables, ConnectionOptions.Source.PLUGIN, null);
                assertEquals(warns.size(), records.messages().size());
            }
        });
    }

    private static Object sorted(Object value) {
        if (value instanceof Map<?, ?> map) {
            Map<String, Object> sorted = new java.util.TreeMap<>();
            map.forEach((key, item) -> sorted.put(key.toString(), sorted(item)));
            return sorted;
        }
        return value instanceof Number number ? (Object) number.doubleValue() : value;
    }

    @TestFactory
    Stream<DynamicTest> classOfTheProperties() throws IOException {
        return tests("classes", one -> {
            String name = one.get("class").toString();
            String className = name.startsWith("$") ? Suppliers.class.getName() + name : name;
            String place = one.get("place").toString();
            String key = "azure.tokenCredentialProviderClassName";
            Suppliers.RUNS.clear();
            // A class is initialized once in a class loader.
            try (var loader = new Suppliers.Loader()) {
                Thread.currentThread().setContextClassLoader(loader);
                if (Boolean.TRUE.equals(one.get("allowed"))) {
                    System.setProperty("pgentra.allowUrlClasses", "true");
                }
                Properties properties = new Properties();
                if (place.contains("properties") || place.equals("plugin")) {
                    properties.setProperty(key, className);
                }
                if (place.equals("plugin")) {
                    properties.setProperty("PGHOST", "localhost");
                }
                String url = "jdbc:postgresql://localhost/d" + (place.contains("url") ? "?" + key + "=" + className : "");
                EntraException error = null;
                try {
                    if (place.equals("plugin")) {
                        new EntraAuthenticationPlugin(properties).getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
                    } else {
                        EntraDataSource.builder(url).properties(properties).build().close();
                    }
                } catch (Exception e) {
                    error = EntraException.find(e);
                }
                if (one.containsKey("refused")) {
                    assertTrue(error != null, "no error");
                    checkError(one, error);
                } else {
                    assertEquals(null, error);
                }
                assertEquals(one.get("runs"), Suppliers.RUNS);
            } finally {
                System.clearProperty("pgentra.allowUrlClasses");
                Thread.currentThread().setContextClassLoader(null);
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> builderBecomesTheDocument() throws IOException {
        return tests("builders", one -> {
            Class<?> type = Class.forName("io.github.pgentra.identity." + one.get("class") + "Builder");
            Object builder = type.getConstructor().newInstance();
            for (Object call : (List<?>) one.get("calls")) {
                List<?> parts = (List<?>) call;
                Object argument = parts.get(1);
                if (argument instanceof Map<?, ?> map) {
                    argument = Duration.ofSeconds(((Number) map.get("seconds")).longValue());
                }
                Class<?> wanted = argument instanceof List ? List.class : argument.getClass();
                Method method = type.getMethod(parts.get(0).toString(), wanted);
                builder = method.invoke(builder, argument);
            }
            Credential credential = (Credential) type.getMethod("build").invoke(builder);
            assertEquals(one.get("class"), credential.getClass().getSimpleName());
            assertEquals(sorted(one.get("document")), sorted(Json.read(Json.write(credential.document(new ArrayList<>())))));
            assertEquals(one.get("class"), credential.toString());
        });
    }

    @Test
    void applicationCredentialExcludesThoseOfTheProperties() {
        Credential given = new io.github.pgentra.identity.AzureCliCredentialBuilder().build();
        for (String key : List.of("azure.clientId", "pgentra.credential", "azure.managedIdentityEnabled")) {
            EntraException error = assertThrows(EntraException.class, () -> EntraDataSource.builder(
                            "jdbc:postgresql://localhost/d?" + key + "=canary")
                    .credential(given)
                    .build());
            assertTrue(error.getMessage().contains(key), error.getMessage());
            assertFalse(error.getMessage().contains("canary"), error.getMessage());
        }
        EntraDataSource.builder("jdbc:postgresql://localhost/d?azure.tokenCredentialBeanName=b").credential(given).build();
    }

    @Test
    void everyKeyOfAzureIdentityExtensionsIsKnown() {
        List<String> theirs = List.of(
                "azure.clientId", "azure.clientSecret", "azure.clientCertificatePath", "azure.clientCertificatePassword",
                "azure.username", "azure.password", "azure.managedIdentityEnabled", "azure.authorityHost", "azure.tenantId",
                "azure.claims", "azure.scopes", "azure.accessTokenTimeoutInSeconds",
                "azure.tokenCredentialProviderClassName", "azure.tokenCredentialBeanName",
                "azure.tokenCredentialCacheEnabled");
        assertTrue(Arrays.asList(ConnectionOptions.KEYS).containsAll(theirs));
    }
}
