package samples;

import io.github.pgentra.jdbc.EntraDataSource;
import org.apache.ibatis.annotations.Select;
import org.apache.ibatis.mapping.Environment;
import org.apache.ibatis.session.Configuration;
import org.apache.ibatis.session.SqlSession;
import org.apache.ibatis.session.SqlSessionFactory;
import org.apache.ibatis.session.SqlSessionFactoryBuilder;
import org.apache.ibatis.transaction.jdbc.JdbcTransactionFactory;

/** MyBatis over a data source. */
public final class MyBatisSample implements Sample {
    /** A mapper. */
    public interface Roles {
        @Select("select current_user")
        String currentUser();
    }

    private final EntraDataSource source;
    private final SqlSessionFactory sessions;

    /**
     * @param url such as {@code jdbc:postgresql://shop.postgres.database.azure.com/postgres?sslmode=verify-full}
     */
    public MyBatisSample(String url) {
        source = EntraDataSource.builder(url).build();
        Configuration configuration =
                new Configuration(new Environment("sample", new JdbcTransactionFactory(), source));
        configuration.addMapper(Roles.class);
        sessions = new SqlSessionFactoryBuilder().build(configuration);
    }

    @Override
    public String currentUser() {
        try (SqlSession session = sessions.openSession()) {
            return session.getMapper(Roles.class).currentUser();
        }
    }

    @Override
    public void close() {
        source.close();
    }

    public static void main(String[] args) throws Exception {
        Sample.run("mybatis", new MyBatisSample(args[0]));
    }
}
