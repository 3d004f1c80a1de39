import io.github.pgentra.jdbc.EntraDataSource;
import java.io.IOException;
import java.sql.Connection;
import java.sql.ResultSet;
import java.util.Locale;

/** The connections of benchmarks/soak.py in Java: a data source in platform threads, a line for each login. */
public final class Pools {
    private static final int THREADS = 4;
    private static final int KEPT_MS = 1000;
    private static final int FAILED_MS = 200;

    private Pools() {}

    public static void main(String[] arguments) throws IOException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
                + System.getenv("PGDATABASE") + "?sslmode=verify-full&sslrootcert=" + System.getenv("PGSSLROOTCERT");
        EntraDataSource source = EntraDataSource.builder(url).build();
        for (int index = 0; index < THREADS; index++) {
            Thread thread = new Thread(() -> repeat(source));
            thread.setDaemon(true);
            thread.start();
        }
        // Standard input ends when the program is to end.
        System.in.readAllBytes();
        System.exit(0);
    }

    private static void repeat(EntraDataSource source) {
        while (true) {
            double began = System.currentTimeMillis() / 1e3;
            long started = System.nanoTime();
            try (Connection connection = source.getConnection();
                    ResultSet result = connection.createStatement().executeQuery("select current_user")) {
                result.next();
                print(began, started, result.getString(1), "");
                Thread.sleep(KEPT_MS);
            } catch (Exception problem) {
                print(began, started, "", problem.toString().replaceAll("\\s+", " "));
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(FAILED_MS);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    private static void print(double began, long started, String role, String problem) {
        double took = (System.nanoTime() - started) / 1e9;
        System.out.printf(Locale.ROOT, "pgjdbc\t%.3f\t%.3f\t%s\t%s%n", began, took, role, problem);
    }
}
