package samples;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;

/** What every sample does: log in, and say as which role. */
public interface Sample extends AutoCloseable {
    /** Returns the role of a connection. */
    String currentUser() throws Exception;

    @Override
    default void close() throws Exception {}

    /** Logs in and prints the role. */
    static void run(String name, Sample sample) throws Exception {
        try (sample) {
            long start = System.nanoTime();
            String role = sample.currentUser();
            System.out.println(name + ": logged in as " + role + " after " + (System.nanoTime() - start) / 1_000_000 + " ms");
        }
    }

    /** Asks the server for the role, and closes the connection. */
    static String currentUser(Connection connection) throws SQLException {
        try (connection;
                ResultSet result = connection.createStatement().executeQuery("select current_user")) {
            result.next();
            return result.getString(1);
        }
    }
}
