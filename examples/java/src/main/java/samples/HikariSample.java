package samples;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.pgentra.jdbc.EntraDataSource;

/** HikariCP 5, 6 and 7 over a data source. {@code maxLifetime} need not follow the lifetime of a token. */
public final class HikariSample implements Sample {
    private final EntraDataSource source;
    private final HikariDataSource pool;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public HikariSample(String url) {
        source = EntraDataSource.builder(url).build();
        HikariConfig config = new HikariConfig();
        config.setDataSource(source);
        config.setMaximumPoolSize(4);
        pool = new HikariDataSource(config);
    }

    @Override
    public String currentUser() throws Exception {
        return Sample.currentUser(pool.getConnection());
    }

    @Override
    public void close() {
        pool.close();
        source.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("hikari", new HikariSample(args[0]));
    }
}
