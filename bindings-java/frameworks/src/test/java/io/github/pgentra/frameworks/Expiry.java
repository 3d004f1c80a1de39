package io.github.pgentra.frameworks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.Emulator;
import java.util.Map;
import samples.Sample;

/** One run for all pools together. */
final class Expiry {
    private Expiry() {}

    /** Logs in with each sample until a token expired; open connections are cut, so that each round logs in. */
    static void check(Map<String, Sample> samples, Emulator.Principal principal, int lifetimeS) throws Exception {
        long expiry = System.nanoTime() + lifetimeS * 1_000_000_000L;
        int rounds = 0;
        while (rounds < 2 || System.nanoTime() < expiry + 1_000_000_000L) {
            for (Map.Entry<String, Sample> sample : samples.entrySet()) {
                try {
                    assertEquals(principal.name(), sample.getValue().currentUser(), sample.getKey());
                } catch (Exception e) {
                    throw new AssertionError(sample.getKey() + " in round " + rounds, e);
                }
            }
            Emulator.controlPostgres(Map.of("disconnect", true));
            rounds++;
            Thread.sleep(200);
        }
        assertTrue(Emulator.requests(principal).size() >= 2, "no token was renewed");
        System.out.println("rounds of logins across expiry: " + rounds + " with " + String.join(", ", samples.keySet()));
    }
}
