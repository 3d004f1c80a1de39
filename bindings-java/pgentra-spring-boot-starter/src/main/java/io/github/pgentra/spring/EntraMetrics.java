package io.github.pgentra.spring;

import io.github.pgentra.TokenProvider;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.List;
import java.util.Map;

/**
 * Publishes the statistics of all cached tokens of the process to Micrometer. They are read when they are collected. The meters
 * of a token that is fetched later appear with the second collection after it.
 */
public final class EntraMetrics implements MeterBinder {
    @Override
    public void bindTo(MeterRegistry registry) {
        Gauge.builder("pgentra.tokens", () -> register(registry))
                .description("Cached tokens.")
                .register(registry);
        register(registry);
    }

    private int register(MeterRegistry registry) {
        List<Map<String, Object>> entries = TokenProvider.allStats();
        for (Map<String, Object> entry : entries) {
            Tags tags = tags(entry);
            counter(registry, tags, "fetches", "Token fetches.");
            counter(registry, tags, "failures", "Failed token fetches.");
            counter(registry, tags, "refreshes", "Token fetches in the background.");
            counter(registry, tags, "invalidations", "Token fetches after a login error.");
            gauge(registry, tags, "consecutive_failures", "Failed token fetches since the last successful one.", null);
            gauge(registry, tags, "expires_in", "Time until the token expires.", "seconds");
        }
        return entries.size();
    }

    private static Tags tags(Map<String, Object> entry) {
        Object principal = entry.get("principal") instanceof Map<?, ?> map ? map.get("oid") : null;
        return Tags.of(
                "pgentra.credential", text(entry.get("credential")),
                "pgentra.scope", text(entry.get("scope")),
                "pgentra.principal.object_id", text(principal));
    }

    private static String text(Object value) {
        return value == null ? "unknown" : value.toString();
    }

    /** The registry keeps a weak reference to the object of a counter, which is this one. */
    private void counter(MeterRegistry registry, Tags tags, String figure, String description) {
        FunctionCounter.builder("pgentra.token." + figure, this, metrics -> sum(tags, figure))
                .tags(tags)
                .description(description)
                .register(registry);
    }

    private static void gauge(MeterRegistry registry, Tags tags, String figure, String description, String unit) {
        Gauge.builder("pgentra.token." + figure, () -> sum(tags, figure))
                .tags(tags)
                .description(description)
                .baseUnit(unit)
                .register(registry);
    }

    /** The figure of the entries with these tags; two applications of one credential class share them. */
    private static double sum(Tags tags, String figure) {
        double sum = 0;
        for (Map<String, Object> entry : TokenProvider.allStats()) {
            if (tags.equals(tags(entry)) && entry.get(figure) instanceof Number number) {
                sum += number.doubleValue();
            }
        }
        return sum;
    }
}
