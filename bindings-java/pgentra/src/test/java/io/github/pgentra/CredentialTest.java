package io.github.pgentra;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.identity.ChainedTokenCredentialBuilder;
import io.github.pgentra.identity.ClientSecretCredentialBuilder;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.identity.StaticTokenCredentialBuilder;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(Emulator.class)
class CredentialTest {
    private static Credential identity(Emulator.Principal principal) {
        return new ManagedIdentityCredentialBuilder()
                .clientId(principal.clientId())
                .build();
    }

    @Test
    void customCredentialIsCalledOnceForManyCallers() throws Exception {
        Emulator.Principal principal = Emulator.add("user");
        AtomicInteger calls = new AtomicInteger();
        Credential credential = Credential.of(request -> {
            calls.incrementAndGet();
            JdbcTest.sleep(200);
            return new AccessToken(Emulator.mint(principal.name(), Map.of()), null);
        });
        try (var provider = TokenProvider.builder().credential(credential).build()) {
            assertEquals(50, inParallel(50, provider::login).size());
            assertEquals(principal.name(), provider.login().user());
        }
        assertEquals(1, calls.get());
    }

    @Test
    void customCredentialFailureIsTheCause() {
        Credential credential = Credential.of(request -> {
            throw new IllegalStateException("no token today");
        });
        try (var provider = TokenProvider.builder().credential(credential).build()) {
            EntraException error = assertThrows(AuthenticationException.class, provider::login);
            assertEquals("custom_credential", error.code());
            assertInstanceOf(IllegalStateException.class, error.getCause());
        }
    }

    @Test
    void customAsyncCredentialCompletesLater() {
        Emulator.Principal principal = Emulator.add("user");
        Credential credential = Credential.ofAsync(
                "Later",
                request -> CompletableFuture.supplyAsync(
                        () -> new AccessToken(Emulator.mint(principal.name(), Map.of()), null)));
        try (var provider = TokenProvider.builder().credential(credential).build()) {
            assertEquals(principal.name(), provider.login().user());
        }
    }

    @Test
    void chainGoesOnPastAnUnavailableCustomCredential() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Credential chain = new ChainedTokenCredentialBuilder()
                .addLast(Credential.of(request -> null))
                .addLast(identity(principal))
                .build();
        try (var provider = TokenProvider.builder().credential(chain).build()) {
            assertEquals(principal.name(), provider.login().user());
        }
    }

    @Test
    void clientSecretIsInNoText() {
        Credential credential = new ClientSecretCredentialBuilder()
                .tenantId(Emulator.text("tenant_id"))
                .clientId("11111111-0000-0000-0000-00000000ffff")
                .clientSecret("canary-secret")
                .authorityHost(Emulator.text("authority_host"))
                .build();
        try (var provider = TokenProvider.builder().credential(credential).build()) {
            EntraException error = assertThrows(EntraException.class, provider::login);
            assertFalse((error + credential.toString() + error.detail() + provider.stats()).contains("canary"));
        }
    }

    @Test
    void loginHasNoTokenInItsText() {
        Emulator.Principal principal = Emulator.add("user");
        String token = Emulator.mint(principal.name(), Map.of());
        Credential credential = new StaticTokenCredentialBuilder().token(token).build();
        try (var provider = TokenProvider.builder().credential(credential).build()) {
            assertEquals(token, provider.login().password());
            assertFalse(provider.login().toString().contains("eyJ"));
            assertFalse(provider.token().toString().contains("eyJ"));
        }
    }

    @Test
    void manyColdCallersMakeOneRequest() throws Exception {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("latency_ms", 200, "times", 1));
        try (var provider =
                TokenProvider.builder().credential(identity(principal)).build()) {
            List<Login> logins = inParallel(200, provider::login);
            assertTrue(logins.stream().allMatch(login -> login.user().equals(principal.name())));
        }
        assertEquals(1, Emulator.requests(principal).size());
    }

    @Test
    void cachedTokenIsServedInAnOutage() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        try (var provider =
                TokenProvider.builder().credential(identity(principal)).build()) {
            Login before = provider.login();
            Emulator.addFault(Map.of("status", 503));
            assertEquals(before.password(), provider.login().password());
        }
    }

    @Test
    void interruptEndsTheWait() throws Exception {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Emulator.addFault(Map.of("connection", "black_hole"));
        try (var provider =
                TokenProvider.builder().credential(identity(principal)).build()) {
            List<String> outcome = new ArrayList<>();
            Thread thread = new Thread(() -> {
                try {
                    provider.login();
                } catch (EntraException e) {
                    outcome.add(e.code() + " " + Thread.currentThread().isInterrupted());
                }
            });
            thread.start();
            JdbcTest.sleep(300);
            thread.interrupt();
            thread.join(10_000);
            assertEquals(List.of("cancelled true"), outcome);
        } finally {
            Emulator.clearFaults();
        }
    }

    @Test
    void invalidOptionIsNamed() {
        EntraException error = assertThrows(
                CredentialValueException.class,
                () -> TokenProvider.builder().scope("").build());
        assertTrue(error.getMessage().contains("scope"), error.getMessage());
    }

    private static <T> List<T> inParallel(int count, Callable<T> work) throws Exception {
        var pool = Executors.newFixedThreadPool(count);
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                futures.add(pool.submit(work));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get());
            }
            return results;
        } finally {
            pool.shutdown();
        }
    }
}
