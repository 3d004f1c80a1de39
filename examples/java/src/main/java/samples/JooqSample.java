package samples;

import io.github.pgentra.jdbc.EntraDataSource;
import org.jooq.DSLContext;
import org.jooq.SQLDialect;
import org.jooq.impl.DSL;

/** jOOQ over a data source. */
public final class JooqSample implements Sample {
    private final EntraDataSource source;
    private final DSLContext context;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public JooqSample(String url) {
        source = EntraDataSource.builder(url).build();
        context = DSL.using(source, SQLDialect.POSTGRES);
    }

    @Override
    public String currentUser() {
        return context.select(DSL.currentUser()).fetchSingle().value1();
    }

    @Override
    public void close() {
        source.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("jooq", new JooqSample(args[0]));
    }
}
