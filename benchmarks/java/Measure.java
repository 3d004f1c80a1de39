import java.io.IOException;
import java.lang.reflect.Constructor;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.Driver;
import org.postgresql.plugin.AuthenticationPlugin;
import org.postgresql.plugin.AuthenticationRequestType;

/** Measures a plugin of pgjdbc: {@code Measure WHAT ours|peer|bare}. The last line is the result as JSON. */
public final class Measure {
    private static final int CALLERS = 200;
    private static final String OURS = "io.github.pgentra.jdbc.EntraAuthenticationPlugin";
    private static final String PEER =
            "com.azure.identity.extensions.jdbc.postgresql.AzurePostgresqlAuthenticationPlugin";

    private final Constructor<?> plugin;
    private final Properties properties;

    private Measure(String who, boolean managedIdentity) throws Exception {
        plugin = Class.forName(who.equals("ours") ? OURS : PEER).getConstructor(Properties.class);
        // What the driver passes to the plugin.
        properties = Driver.parseURL(
                "jdbc:postgresql://localhost:5432/postgres?sslmode=verify-full&user=app-mi&authenticationPluginClassName="
                        + plugin.getDeclaringClass().getName()
                        + (managedIdentity ? "&azure.managedIdentityEnabled=true" : ""),
                new Properties());
    }

    public static void main(String[] arguments) throws Exception {
        String who = arguments[1];
        switch (arguments[0]) {
            case "first" -> first(who);
            case "warm-identity" -> new Measure(who, true).warm();
            case "warm-chain" -> new Measure(who, false).warm();
            case "stampede" -> new Measure(who, true).stampede();
            case "next" -> new Measure(who, true).next();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        // Threads of a library must not extend the measurement.
        System.exit(0);
    }

    private char[] password() throws Exception {
        return ((AuthenticationPlugin) plugin.newInstance(properties))
                .getPassword(AuthenticationRequestType.CLEARTEXT_PASSWORD);
    }

    private static void first(String who) throws Exception {
        if (who.equals("bare")) {
            DriverManager.getDriver("jdbc:postgresql://localhost/postgres");
            Driver.parseURL("jdbc:postgresql://localhost/postgres?sslmode=verify-full", new Properties());
        } else {
            DriverManager.getDriver("jdbc:postgresql://localhost/postgres");
            new Measure(who, true).password();
        }
        System.out.println("{\"mb\": " + residentMegabytes() + "}");
    }

    private void warm() throws Exception {
        long end = System.nanoTime() + 2_000_000_000L;
        while (System.nanoTime() < end) {
            password();
        }
        List<Double> batches = new ArrayList<>();
        end = System.nanoTime() + 2_000_000_000L;
        while (System.nanoTime() < end) {
            long start = System.nanoTime();
            for (int i = 0; i < 1000; i++) {
                password();
            }
            batches.add((System.nanoTime() - start) / 1000.0 / 1000);
        }
        batches.sort(null);
        System.out.println("{\"us\": " + batches.get(batches.size() / 2) + "}");
    }

    private void stampede() throws Exception {
        ExecutorService executor = Executors.newFixedThreadPool(CALLERS);
        CountDownLatch begin = new CountDownLatch(1);
        CountDownLatch ready = new CountDownLatch(CALLERS);
        List<Future<Double>> futures = new ArrayList<>();
        for (int i = 0; i < CALLERS; i++) {
            futures.add(executor.submit(() -> {
                ready.countDown();
                begin.await();
                long start = System.nanoTime();
                password();
                return (System.nanoTime() - start) / 1e6;
            }));
        }
        ready.await();
        begin.countDown();
        double[] times = new double[CALLERS];
        for (int i = 0; i < CALLERS; i++) {
            times[i] = futures.get(i).get();
        }
        Arrays.sort(times);
        System.out.println("{\"ms\": " + times[CALLERS * 99 / 100] + "}");
    }

    private void next() throws Exception {
        password();
        System.out.println("{\"ready\": true}");
        System.in.read();
        String error = "null";
        long start = System.nanoTime();
        try {
            password();
        } catch (Exception e) {
            error = "\"" + e.getClass().getSimpleName() + "\"";
        }
        System.out.println("{\"ms\": " + (System.nanoTime() - start) / 1e6 + ", \"error\": " + error + "}");
    }

    private static double residentMegabytes() throws IOException {
        return Long.parseLong(Files.readString(Path.of("/proc/self/statm")).split(" ")[1]) * 4096 / 1e6;
    }
}
