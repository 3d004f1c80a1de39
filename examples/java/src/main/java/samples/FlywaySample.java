package samples;

import io.github.pgentra.jdbc.EntraDataSource;
import org.flywaydb.core.Flyway;

/** Flyway over a data source. The command line takes the URL with the plugin. */
public final class FlywaySample implements Sample {
    private final EntraDataSource source;
    private final Flyway flyway;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public FlywaySample(String url) {
        source = EntraDataSource.builder(url).build();
        flyway = Flyway.configure()
                .dataSource(source)
                .locations("classpath:migrations/flyway")
                .table("flyway_sample_history")
                .load();
    }

    @Override
    public String currentUser() throws Exception {
        flyway.migrate();
        return flyway.info().current().getInstalledBy();
    }

    @Override
    public void close() {
        source.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("flyway", new FlywaySample(args[0]));
    }
}
