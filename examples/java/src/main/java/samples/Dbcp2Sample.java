package samples;

import org.apache.commons.dbcp2.BasicDataSource;

/** DBCP 2 with the plugin, which needs the user. */
public final class Dbcp2Sample implements Sample {
    private final BasicDataSource pool = new BasicDataSource();

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full&user=app-mi}
     */
    public Dbcp2Sample(String url) {
        pool.setUrl(url);
        pool.addConnectionProperty(
                "authenticationPluginClassName", "io.github.pgentra.jdbc.EntraAuthenticationPlugin");
        pool.setMaxTotal(4);
    }

    @Override
    public String currentUser() throws Exception {
        return Sample.currentUser(pool.getConnection());
    }

    @Override
    public void close() throws Exception {
        pool.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("dbcp2", new Dbcp2Sample(args[0]));
    }
}
