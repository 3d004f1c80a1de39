package samples;

import io.github.pgentra.jdbc.EntraDataSource;
import org.apache.tomcat.jdbc.pool.DataSource;

/** Tomcat's pool over a data source. */
public final class TomcatPoolSample implements Sample {
    private final EntraDataSource source;
    private final DataSource pool = new DataSource();

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public TomcatPoolSample(String url) {
        source = EntraDataSource.builder(url).build();
        pool.setDataSource(source);
        pool.setMaxActive(4);
        pool.setTestOnBorrow(true);
        pool.setValidationQuery("select 1");
        pool.setValidationInterval(0);
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
        Sample.run("tomcat", new TomcatPoolSample(args[0]));
    }
}
