package io.github.pgentra.frameworks;

import io.github.pgentra.jdbc.EntraDataSource;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import javax.sql.DataSource;
import samples.Sample;

/** A version of HikariCP that is not the one of the class path, over a data source. */
final class OtherHikari implements Sample {
    private final Loader loader;
    private final EntraDataSource source;
    private final DataSource pool;

    /** Takes HikariCP's classes from its file, and all others from the class path. */
    private static final class Loader extends URLClassLoader {
        private Loader(URL file) {
            super(new URL[] {file}, OtherHikari.class.getClassLoader());
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (!name.startsWith("com.zaxxer.hikari.")) {
                return super.loadClass(name, resolve);
            }
            synchronized (getClassLoadingLock(name)) {
                Class<?> loaded = findLoadedClass(name);
                return loaded != null ? loaded : findClass(name);
            }
        }
    }

    /** The files of the versions. */
    static List<Path> files() throws IOException {
        try (Stream<Path> files = Files.list(Path.of("target/hikari"))) {
            return files.sorted().toList();
        }
    }

    OtherHikari(Path file, String url) throws Exception {
        loader = new Loader(file.toUri().toURL());
        source = EntraDataSource.builder(url).build();
        Class<?> config = loader.loadClass("com.zaxxer.hikari.HikariConfig");
        Object made = config.getConstructor().newInstance();
        config.getMethod("setDataSource", DataSource.class).invoke(made, source);
        config.getMethod("setMaximumPoolSize", int.class).invoke(made, 2);
        pool = (DataSource) loader.loadClass("com.zaxxer.hikari.HikariDataSource").getConstructor(config).newInstance(made);
    }

    @Override
    public String currentUser() throws Exception {
        return Sample.currentUser(pool.getConnection());
    }

    @Override
    public void close() throws Exception {
        ((AutoCloseable) pool).close();
        source.close();
        loader.close();
    }
}
