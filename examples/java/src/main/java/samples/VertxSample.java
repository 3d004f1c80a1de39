package samples;

import io.github.pgentra.TokenProvider;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.net.ClientSSLOptions;
import io.vertx.core.net.PemTrustOptions;
import io.vertx.pgclient.PgBuilder;
import io.vertx.pgclient.PgConnectOptions;
import io.vertx.pgclient.SslMode;
import io.vertx.sqlclient.Pool;
import io.vertx.sqlclient.PoolOptions;
import java.util.concurrent.TimeUnit;

/** The PostgreSQL client of Vert.x 5: the pool asks for the options of each new connection. */
public final class VertxSample implements Sample {
    private final Vertx vertx = Vertx.vertx();
    private final TokenProvider provider;
    private final Pool pool;

    /**
     * @param uri such as {@code postgresql://shop.postgres.database.azure.com/postgres}
     * @param certificates a PEM file of the certificate authorities to trust; null: those of the JVM
     */
    public VertxSample(String uri, String certificates) {
        ClientSSLOptions tls = new ClientSSLOptions().setHostnameVerificationAlgorithm("HTTPS");
        if (certificates != null) {
            tls.setTrustOptions(new PemTrustOptions().addCertPath(certificates));
        }
        PgConnectOptions options = PgConnectOptions.fromUri(uri).setSslMode(SslMode.VERIFY_FULL).setSslOptions(tls);
        provider = TokenProvider.builder().host(options.getHost()).build();
        pool = PgBuilder.pool()
                .with(new PoolOptions().setMaxSize(4))
                .connectingTo(() -> Future.fromCompletionStage(provider.loginAsync())
                        .map(login -> new PgConnectOptions(options).setUser(login.user()).setPassword(login.password())))
                .using(vertx)
                .build();
    }

    @Override
    public String currentUser() throws Exception {
        return pool.query("select current_user")
                .execute()
                .map(rows -> rows.iterator().next().getString(0))
                .toCompletionStage()
                .toCompletableFuture()
                .get(30, TimeUnit.SECONDS);
    }

    @Override
    public void close() throws Exception {
        pool.close().toCompletionStage().toCompletableFuture().get(30, TimeUnit.SECONDS);
        vertx.close().toCompletionStage().toCompletableFuture().get(30, TimeUnit.SECONDS);
        provider.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("vertx", new VertxSample(args[0], args.length > 1 ? args[1] : null));
    }
}
