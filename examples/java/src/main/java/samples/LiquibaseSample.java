package samples;

import io.github.pgentra.jdbc.EntraDataSource;
import java.sql.Connection;
import liquibase.command.CommandScope;
import liquibase.command.core.UpdateCommandStep;
import liquibase.command.core.helpers.DbUrlConnectionArgumentsCommandStep;
import liquibase.database.Database;
import liquibase.database.DatabaseFactory;
import liquibase.database.jvm.JdbcConnection;

/** Liquibase over a data source. The command line takes the URL with the plugin. */
public final class LiquibaseSample implements Sample {
    private final EntraDataSource source;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public LiquibaseSample(String url) {
        source = EntraDataSource.builder(url).build();
    }

    @Override
    public String currentUser() throws Exception {
        try (Connection connection = source.getConnection()) {
            Database database = DatabaseFactory.getInstance().findCorrectDatabaseImplementation(new JdbcConnection(connection));
            CommandScope update = new CommandScope(UpdateCommandStep.COMMAND_NAME);
            update.addArgumentValue(DbUrlConnectionArgumentsCommandStep.DATABASE_ARG, database);
            update.addArgumentValue(UpdateCommandStep.CHANGELOG_FILE_ARG, "migrations/changelog.sql");
            update.execute();
        }
        return Sample.currentUser(source.getConnection());
    }

    @Override
    public void close() {
        source.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("liquibase", new LiquibaseSample(args[0]));
    }
}
