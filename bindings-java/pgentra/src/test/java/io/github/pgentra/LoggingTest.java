package io.github.pgentra;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.identity.ManagedIdentityCredentialBuilder;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(Emulator.class)
class LoggingTest {
    @Test
    void eventsReachTheLoggerAndHoldNoToken() throws Exception {
        List<LogRecord> records = new CopyOnWriteArrayList<>();
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord entry) {
                records.add(entry);
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger logger = Logger.getLogger("pgentra");
        logger.addHandler(handler);
        try {
            Emulator.Principal principal = Emulator.add("user_assigned");
            var credential = new ManagedIdentityCredentialBuilder()
                    .clientId(principal.clientId())
                    .build();
            Emulator.setTokens(Map.of("lifetime_s", 12));
            try (var provider = TokenProvider.builder().credential(credential).build()) {
                provider.token();
                Emulator.addFault(Map.of("status", 503));
                long end = System.nanoTime() + 60_000_000_000L;
                while (records.stream().noneMatch(one -> one.getLevel().intValue() >= Level.WARNING.intValue())
                        && System.nanoTime() < end) {
                    try {
                        provider.token();
                    } catch (EntraException e) {
                        // The outage outlasts the token.
                    }
                    JdbcTest.sleep(200);
                }
            }
            assertTrue(records.stream()
                    .anyMatch(one -> one.getLoggerName().startsWith("pgentra")
                            && one.getLevel().intValue() >= Level.WARNING.intValue()));
            records.forEach(one -> assertFalse(one.getMessage().contains("eyJ"), one.getMessage()));
        } finally {
            logger.removeHandler(handler);
            Emulator.clearFaults();
        }
    }

    @Test
    void statisticsAreOfThisProvider() {
        Emulator.Principal principal = Emulator.add("user_assigned");
        var credential = new ManagedIdentityCredentialBuilder()
                .clientId(principal.clientId())
                .build();
        try (var provider = TokenProvider.builder().credential(credential).build()) {
            assertEquals(0L, provider.stats().get("fetches"));
            provider.token();
            provider.token();
            assertEquals(1L, provider.stats().get("fetches"));
            assertTrue(TokenProvider.allStats().size() >= 1);
            assertFalse(provider.stats().toString().contains("eyJ"));
        }
    }
}
