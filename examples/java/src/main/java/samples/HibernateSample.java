package samples;

import io.github.pgentra.jdbc.EntraDataSource;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;

/** Hibernate 6 and 7 over a data source. An application would put a pool between the two. */
public final class HibernateSample implements Sample {
    private final EntraDataSource source;
    private final SessionFactory sessions;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public HibernateSample(String url) {
        source = EntraDataSource.builder(url).build();
        Configuration configuration = new Configuration();
        configuration.getProperties().put("hibernate.connection.datasource", source);
        sessions = configuration.buildSessionFactory();
    }

    @Override
    public String currentUser() {
        return sessions.fromSession(
                session -> session.createNativeQuery("select cast(current_user as text)", String.class).getSingleResult());
    }

    @Override
    public void close() {
        sessions.close();
        source.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("hibernate", new HibernateSample(args[0]));
    }
}
