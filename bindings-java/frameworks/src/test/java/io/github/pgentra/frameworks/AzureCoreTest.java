package io.github.pgentra.frameworks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.core.exception.ClientAuthenticationException;
import io.github.pgentra.AuthenticationException;
import io.github.pgentra.Emulator;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.TokenRequest;
import io.github.pgentra.azure.AzureCredential;
import io.github.pgentra.azure.PgEntraTokenCredential;
import io.github.pgentra.identity.ChainedTokenCredentialBuilder;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.EnvironmentCredentialBuilder;
import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import io.github.pgentra.jdbc.EntraDataSource;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import reactor.core.publisher.Mono;

/** Credentials of azure-core. */
@ExtendWith(Emulator.class)
class AzureCoreTest {
    private static final String SCOPE = "https://ossrdbms-aad.database.windows.net/.default";
    private static final Duration LIMIT = Duration.ofSeconds(60);

    /** As azure-identity's class of this name. */
    private static final class CredentialUnavailableException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        private CredentialUnavailableException() {
            super("not set up");
        }
    }

    private static AccessToken mint(Emulator.Principal principal) {
        OffsetDateTime now = OffsetDateTime.now();
        return new AccessToken(Emulator.mint(principal.name(), Map.of()), now.plusHours(1), now.plusMinutes(30));
    }

    @Test
    void tokenCredentialLogsIn() throws SQLException {
        Emulator.Principal principal = Emulator.add("user_assigned");
        AtomicInteger calls = new AtomicInteger();
        AtomicReference<TokenRequestContext> asked = new AtomicReference<>();
        TokenCredential azure = context -> Mono.delay(Duration.ofMillis(20)).map(tick -> {
            calls.incrementAndGet();
            asked.set(context);
            return mint(principal);
        });
        try (var source = EntraDataSource.builder(Emulator.url() + "&user=" + principal.name())
                .credential(AzureCredential.of(azure))
                .managementLookup(false)
                .build()) {
            for (int i = 0; i < 3; i++) {
                assertEquals(principal.name(), Applications.currentUser(source));
            }
        }
        assertEquals(1, calls.get());
        assertEquals(SCOPE, asked.get().getScopes().get(0));
    }

    /** Named by a connection property. */
    public static final class AzureSupplier implements Supplier<TokenCredential> {
        private static Emulator.Principal principal;

        @Override
        public TokenCredential get() {
            return context -> Mono.fromSupplier(() -> mint(principal));
        }
    }

    @Test
    void tokenCredentialOfASupplierLogsIn() throws SQLException {
        AzureSupplier.principal = Emulator.add("user_assigned");
        Properties properties = new Properties();
        properties.setProperty("user", AzureSupplier.principal.name());
        properties.setProperty("azure.tokenCredentialProviderClassName", AzureSupplier.class.getName());
        try (var source =
                EntraDataSource.builder(Emulator.url()).properties(properties).build()) {
            assertEquals(AzureSupplier.principal.name(), Applications.currentUser(source));
        }
    }

    @Test
    void tokenCredentialTimesAreKept() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        AccessToken token = mint(principal);
        Credential wrapped = AzureCredential.of(context -> Mono.just(token));
        io.github.pgentra.AccessToken found = wrapped.getToken(new TokenRequest(SCOPE));
        assertEquals(token.getToken(), found.token());
        assertEquals(token.getExpiresAt().toEpochSecond(), found.expiresOn().getEpochSecond());
        // The refresh point is spread, so that many processes do not refresh at once.
        assertTrue(found.refreshOn().isAfter(Instant.now()));
        assertFalse(found.refreshOn().isAfter(token.getRefreshAt().toInstant()));
    }

    @Test
    void tokenCredentialThatOnlyBlocks() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        TokenCredential blocking = new TokenCredential() {
            @Override
            public Mono<AccessToken> getToken(TokenRequestContext context) {
                throw new UnsupportedOperationException();
            }

            @Override
            public AccessToken getTokenSync(TokenRequestContext context) {
                return mint(principal);
            }
        };
        assertTrue(AzureCredential.of(blocking)
                .getToken(new TokenRequest(SCOPE))
                .token()
                .startsWith("eyJ"));
    }

    @Test
    void tokenCredentialThatIsUnavailableLetsTheChainGoOn() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        var chain = new ChainedTokenCredentialBuilder()
                .addLast(AzureCredential.of(context -> Mono.error(new CredentialUnavailableException())))
                .addLast(new ManagedIdentityCredentialBuilder()
                        .clientId(principal.clientId())
                        .build())
                .build();
        try (TokenProvider provider = TokenProvider.builder().credential(chain).build()) {
            assertEquals(principal.name(), provider.login().user());
        }
    }

    @Test
    void tokenCredentialErrorBecomesTheCause() {
        IllegalStateException failure = new IllegalStateException("the vault is sealed");
        try (TokenProvider provider = TokenProvider.builder()
                .credential(AzureCredential.of(context -> Mono.error(failure)))
                .build()) {
            AuthenticationException error = assertThrows(AuthenticationException.class, provider::token);
            assertTrue(error.getMessage().contains("the vault is sealed"), error.getMessage());
            assertSame(failure, error.getCause());
        }
        try (TokenProvider provider = TokenProvider.builder()
                .credential(AzureCredential.of(context -> Mono.empty()))
                .build()) {
            assertThrows(io.github.pgentra.CredentialUnavailableException.class, provider::token);
        }
    }

    @Test
    void ourCredentialServesAzureCore() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        Credential ours = new ManagedIdentityCredentialBuilder()
                .clientId(principal.clientId())
                .build();
        TokenCredential credential = new PgEntraTokenCredential(ours);
        TokenRequestContext context = new TokenRequestContext().addScopes(SCOPE);
        AccessToken token = credential.getToken(context).block(LIMIT);
        assertEquals(token.getToken(), credential.getTokenSync(context).getToken());
        assertTrue(token.getExpiresAt().isAfter(OffsetDateTime.now()));
        assertEquals(1, Emulator.requests(principal).size());
        assertSame(ours, AzureCredential.of(credential));
        assertThrows(IllegalArgumentException.class, () -> credential
                .getToken(new TokenRequestContext().addScopes("a", "b"))
                .block(LIMIT));
    }

    @Test
    void ourCredentialFailsAsAzureCoreDoes() {
        // azure-identity is not on the class path.
        TokenCredential credential = new PgEntraTokenCredential(new EnvironmentCredentialBuilder().build());
        TokenRequestContext context = new TokenRequestContext().addScopes(SCOPE);
        for (var call : new org.junit.jupiter.api.function.Executable[] {
            () -> credential.getToken(context).block(LIMIT), () -> credential.getTokenSync(context)
        }) {
            ClientAuthenticationException error = assertThrows(ClientAuthenticationException.class, call);
            assertInstanceOf(io.github.pgentra.CredentialUnavailableException.class, error.getCause());
        }
    }
}
