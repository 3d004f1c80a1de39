package samples;

import java.sql.DriverManager;

/** pgjdbc alone: the plugin is named in the URL. The driver sends the user first, so the URL has it too. */
public final class JdbcSample implements Sample {
    private final String url;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full&user=app-mi}
     */
    public JdbcSample(String url) {
        this.url = url + "&authenticationPluginClassName=io.github.pgentra.jdbc.EntraAuthenticationPlugin";
    }

    @Override
    public String currentUser() throws Exception {
        return Sample.currentUser(DriverManager.getConnection(url));
    }

    public static void main(String[] args) throws Exception {
        Sample.run("jdbc", new JdbcSample(args[0]));
    }
}
