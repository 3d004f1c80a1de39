package samples;

import io.github.pgentra.TokenProvider;
import io.github.pgentra.r2dbc.EntraR2dbc;
import io.r2dbc.pool.ConnectionPool;
import io.r2dbc.pool.ConnectionPoolConfiguration;
import io.r2dbc.spi.Connection;
import io.r2dbc.spi.ConnectionFactoryOptions;
import io.r2dbc.spi.ValidationDepth;
import reactor.core.publisher.Flux;

/** r2dbc-postgresql with r2dbc-pool. */
public final class R2dbcPoolSample implements Sample {
    private final TokenProvider provider;
    private final ConnectionPool pool;

    /**
     * @param url such as {@code r2dbc:postgresql://shop.postgres.database.azure.com/postgres?sslMode=verify-full}
     */
    public R2dbcPoolSample(String url) {
        ConnectionFactoryOptions options = ConnectionFactoryOptions.parse(url);
        provider = TokenProvider.builder().host((String) options.getRequiredValue(ConnectionFactoryOptions.HOST)).build();
        pool = new ConnectionPool(ConnectionPoolConfiguration.builder(EntraR2dbc.connectionFactory(options, provider))
                .initialSize(0)
                .maxSize(4)
                .validationDepth(ValidationDepth.REMOTE)
                .validationQuery("select 1")
                .build());
    }

    @Override
    public String currentUser() {
        return Flux.usingWhen(
                        pool.create(),
                        connection -> Flux.from(connection.createStatement("select current_user").execute())
                                .flatMap(result -> result.map((row, metadata) -> row.get(0, String.class))),
                        Connection::close)
                .blockLast();
    }

    @Override
    public void close() {
        pool.dispose();
        provider.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("r2dbc", new R2dbcPoolSample(args[0]));
    }
}
