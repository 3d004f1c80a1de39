package io.github.pgentra;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.pgentra.identity.AzureCliCredentialBuilder;
import io.github.pgentra.identity.AzureDeveloperCliCredentialBuilder;
import io.github.pgentra.identity.AzurePipelinesCredentialBuilder;
import io.github.pgentra.identity.AzurePowerShellCredentialBuilder;
import io.github.pgentra.identity.ChainedTokenCredentialBuilder;
import io.github.pgentra.identity.ClientAssertionCredentialBuilder;
import io.github.pgentra.identity.ClientCertificateCredentialBuilder;
import io.github.pgentra.identity.ClientSecretCredentialBuilder;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.DefaultAzureCredentialBuilder;
import io.github.pgentra.identity.EnvironmentCredentialBuilder;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.identity.OnBehalfOfCredentialBuilder;
import io.github.pgentra.identity.StaticTokenCredentialBuilder;
import io.github.pgentra.identity.WorkloadIdentityCredentialBuilder;
import io.github.pgentra.jdbc.EntraDataSource;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** A login with every credential. Each that works prints a line for the table of tools/matrix.py. */
@ExtendWith(Emulator.class)
class MatrixTest {
    private static final String SCOPE = "https://ossrdbms-aad.database.windows.net/.default";
    private static final String PASSWORD = "canary-password";
    private static final Map<String, Object> FEDERATED =
            Map.of("issuer", "https://cluster.example", "subject", "system:serviceaccount:shop:orders");
    private static final Map<String, Object> PIPELINE = Map.of(
            "issuer", "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0",
            "subject", "sc://contoso/shop/orders-api");

    @TempDir
    private Path temporary;

    private interface Login {
        void run() throws Exception;
    }

    private static void logsIn(Credential credential, String role, boolean isNamed) throws Exception {
        AccessToken token = credential.getToken(new TokenRequest(SCOPE));
        assertTrue(token.expiresOn().isAfter(java.time.Instant.now()));
        String url = Emulator.url() + (isNamed ? "&user=" + role : "");
        try (var source = EntraDataSource.builder(url).credential(credential).build()) {
            assertEquals(role, JdbcTest.currentUser(source.getConnection()));
        }
        assertEquals(token.token(), credential.getTokenAsync(new TokenRequest(SCOPE)).get().token());
        System.out.println("works: " + credential.getClass().getSimpleName() + " in Java");
    }

    private static Emulator.Principal application(boolean hasRole) throws IOException {
        Map<String, Object> settings = new HashMap<>();
        settings.put("certificates", List.of(certificate("no-key.pem").toString()));
        settings.put("federated_credentials", List.of(FEDERATED));
        if (!hasRole) {
            settings.put("role", false);
        }
        return Emulator.add("service_principal", settings);
    }

    private static Path certificate(String name) {
        return Emulator.root().resolve("tests/vectors/certificates").resolve(name);
    }

    private static String asserted(Emulator.Principal application) {
        return Emulator.mint(application.name(), Map.of("federated", FEDERATED));
    }

    private static void leave() {
        System.setProperty("IDENTITY_ENDPOINT", "");
        System.setProperty("IDENTITY_HEADER", "");
    }

    private static Emulator.Principal signedIn() {
        leave();
        Emulator.Principal user = Emulator.add("user");
        System.setProperty("PATH", Emulator.tools(user) + File.pathSeparator + System.getenv("PATH"));
        return user;
    }

    private Credential clientCertificate(Emulator.Principal application, String file, String password) {
        var builder = new ClientCertificateCredentialBuilder()
                .tenantId(Emulator.text("tenant_id"))
                .clientId(application.clientId())
                .authorityHost(Emulator.text("authority_host"));
        String path = certificate(file).toString();
        if (password == null) {
            builder.pemCertificate(path);
        } else {
            builder.pfxCertificate(path, password);
        }
        return builder.build();
    }

    @TestFactory
    Stream<DynamicTest> everyCredentialLogsIn() {
        Map<String, Login> logins = new java.util.LinkedHashMap<>();
        logins.put("default chain", () -> {
            Emulator.Principal identity = Emulator.add("user_assigned");
            logsIn(
                    new DefaultAzureCredentialBuilder().managedIdentityClientId(identity.clientId()).build(),
                    identity.name(),
                    false);
        });
        logins.put("default chain of a developer", () -> {
            Emulator.Principal user = signedIn();
            System.setProperty("AZURE_TOKEN_CREDENTIALS", "dev");
            logsIn(new DefaultAzureCredentialBuilder().build(), user.name(), false);
        });
        logins.put("chain", () -> {
            Emulator.Principal identity = Emulator.add("user_assigned");
            logsIn(
                    new ChainedTokenCredentialBuilder()
                            .addLast(new EnvironmentCredentialBuilder().build())
                            .addLast(new ManagedIdentityCredentialBuilder().clientId(identity.clientId()).build())
                            .build(),
                    identity.name(),
                    false);
        });
        logins.put("environment", () -> {
            Emulator.Principal application = application(true);
            System.setProperty("AZURE_TENANT_ID", Emulator.text("tenant_id"));
            System.setProperty("AZURE_CLIENT_ID", application.clientId());
            System.setProperty("AZURE_CLIENT_SECRET", application.secret());
            System.setProperty("AZURE_AUTHORITY_HOST", Emulator.text("authority_host"));
            logsIn(new EnvironmentCredentialBuilder().build(), application.name(), true);
        });
        logins.put("workload identity", () -> {
            Emulator.Principal application = application(true);
            Path file = Files.writeString(temporary.resolve("token"), asserted(application) + "\n");
            logsIn(
                    new WorkloadIdentityCredentialBuilder()
                            .tenantId(Emulator.text("tenant_id"))
                            .clientId(application.clientId())
                            .tokenFilePath(file.toString())
                            .authorityHost(Emulator.text("authority_host"))
                            .build(),
                    application.name(),
                    true);
        });
        logins.put("managed identity", () -> {
            Emulator.Principal identity = Emulator.add("user_assigned");
            logsIn(new ManagedIdentityCredentialBuilder().clientId(identity.clientId()).build(), identity.name(), false);
            Emulator.Principal second = Emulator.add("user_assigned");
            logsIn(new ManagedIdentityCredentialBuilder().objectId(second.oid()).build(), second.name(), false);
        });
        logins.put("client secret", () -> {
            Emulator.Principal application = application(true);
            logsIn(
                    new ClientSecretCredentialBuilder()
                            .tenantId(Emulator.text("tenant_id"))
                            .clientId(application.clientId())
                            .clientSecret(application.secret())
                            .authorityHost(Emulator.text("authority_host"))
                            .build(),
                    application.name(),
                    true);
        });
        for (String file : List.of("app.pem", "app.pfx")) {
            logins.put("client certificate " + file, () -> {
                Emulator.Principal application = application(true);
                logsIn(
                        clientCertificate(application, file, file.endsWith("pfx") ? PASSWORD : null),
                        application.name(),
                        true);
            });
        }
        logins.put("client assertion", () -> {
            Emulator.Principal application = application(true);
            logsIn(
                    new ClientAssertionCredentialBuilder()
                            .tenantId(Emulator.text("tenant_id"))
                            .clientId(application.clientId())
                            .clientAssertion(() -> asserted(application))
                            .authorityHost(Emulator.text("authority_host"))
                            .build(),
                    application.name(),
                    true);
        });
        for (String proof : List.of("secret", "certificate", "assertion")) {
            logins.put("on behalf of, " + proof, () -> {
                Emulator.Principal application = application(false);
                Emulator.Principal user = Emulator.add("user");
                var builder = new OnBehalfOfCredentialBuilder()
                        .tenantId(Emulator.text("tenant_id"))
                        .clientId(application.clientId())
                        .userAssertion(Emulator.mint(user.name(), Map.of("audience", application.clientId())))
                        .authorityHost(Emulator.text("authority_host"));
                switch (proof) {
                    case "secret" -> builder.clientSecret(application.secret());
                    case "certificate" -> builder.pemCertificate(certificate("app.pem").toString());
                    default -> builder.clientAssertion(() -> asserted(application));
                }
                logsIn(builder.build(), user.name(), false);
            });
        }
        logins.put("pipeline", () -> {
            Emulator.Principal application =
                    Emulator.add("service_principal", Map.of("federated_credentials", List.of(PIPELINE)));
            System.setProperty(
                    "SYSTEM_OIDCREQUESTURI", Emulator.text("hosts", "azure_pipelines", "SYSTEM_OIDCREQUESTURI"));
            logsIn(
                    new AzurePipelinesCredentialBuilder()
                            .tenantId(Emulator.text("tenant_id"))
                            .clientId(application.clientId())
                            .serviceConnectionId("55555555-0000-0000-0000-000000000001")
                            .systemAccessToken(Emulator.text("hosts", "azure_pipelines", "SYSTEM_ACCESSTOKEN"))
                            .authorityHost(Emulator.text("authority_host"))
                            .build(),
                    application.name(),
                    true);
        });
        logins.put("az", () -> {
            Emulator.Principal user = signedIn();
            logsIn(new AzureCliCredentialBuilder().build(), user.name(), false);
        });
        logins.put("azd", () -> {
            Emulator.Principal user = signedIn();
            logsIn(new AzureDeveloperCliCredentialBuilder().build(), user.name(), false);
        });
        logins.put("pwsh", () -> {
            Emulator.Principal user = signedIn();
            logsIn(new AzurePowerShellCredentialBuilder().build(), user.name(), false);
        });
        logins.put("static token", () -> {
            Emulator.Principal identity = Emulator.add("user_assigned");
            String token = Emulator.mint(identity.name(), Map.of("named", true));
            logsIn(new StaticTokenCredentialBuilder().token(token).build(), identity.name(), false);
        });
        List<DynamicTest> tests = new ArrayList<>();
        logins.forEach((name, login) -> tests.add(dynamicTest(name, () -> {
            Emulator.reset();
            login.run();
        })));
        return tests.stream();
    }

    /** Logins from the variables of Service Connector alone. */
    @TestFactory
    Stream<DynamicTest> serviceConnectorLogsIn() {
        return Stream.of("system-assigned", "user-assigned", "service-principal").map(identity -> dynamicTest(identity, () -> {
            Emulator.reset();
            Map<String, String> variables = new HashMap<>(Emulator.environment());
            String role = "aad_java_" + identity.replace('-', '_');
            switch (identity) {
                case "system-assigned" -> {
                    variables.remove("IDENTITY_ENDPOINT");
                    variables.remove("IDENTITY_HEADER");
                    variables.put("AZURE_POD_IDENTITY_AUTHORITY_HOST", Emulator.text("imds_host"));
                    role = "vm-prod";
                }
                case "user-assigned" -> {
                    Emulator.Principal assigned = Emulator.add("user_assigned", Map.of("role", role));
                    variables.put("AZURE_POSTGRESQL_CLIENTID", assigned.clientId());
                }
                default -> {
                    Emulator.Principal application = Emulator.add("service_principal", Map.of("role", role));
                    variables.put("AZURE_POSTGRESQL_CLIENTID", application.clientId());
                    variables.put("AZURE_POSTGRESQL_CLIENTSECRET", application.secret());
                    variables.put("AZURE_POSTGRESQL_TENANTID", Emulator.text("tenant_id"));
                    variables.put("AZURE_AUTHORITY_HOST", Emulator.text("authority_host"));
                }
            }
            variables.put("AZURE_POSTGRESQL_CONNECTIONSTRING", Emulator.url() + "&user=" + role);
            try (var source = EntraDataSource.builder().serviceConnector().environment(variables).build()) {
                assertEquals(role, JdbcTest.currentUser(source.getConnection()));
            }
            System.out.println("connector: " + identity + " / pgjdbc / Java");
        }));
    }

    @Test
    void everyClassHasALogin() throws IOException {
        String text = Files.readString(
                Emulator.root().resolve("bindings-java/pgentra/src/test/java/io/github/pgentra/MatrixTest.java"));
        Path folder = Emulator.root().resolve("bindings-java/pgentra/src/main/java/io/github/pgentra/identity");
        try (Stream<Path> files = Files.list(folder)) {
            List<String> builders = files.map(file -> file.getFileName().toString())
                    .filter(name -> name.endsWith("CredentialBuilder.java"))
                    .map(name -> name.replace(".java", ""))
                    .toList();
            assertEquals(14, builders.size());
            builders.forEach(builder -> assertTrue(text.contains("new " + builder + "()"), builder));
        }
    }
}
