package io.github.pgentra.jdbc;

import io.github.pgentra.AccessToken;
import io.github.pgentra.identity.Credential;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.function.Supplier;

/** Classes that {@code azure.tokenCredentialProviderClassName} can name. */
public final class Suppliers {
    public static final List<String> RUNS = new ArrayList<>();

    private Suppliers() {}

    /** Defines the nested classes again, so that they are initialized again. */
    static final class Loader extends ClassLoader implements Closeable {
        Loader() {
            super(Suppliers.class.getClassLoader());
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (!name.startsWith(Suppliers.class.getName() + "$") || name.endsWith("Loader")) {
                return super.loadClass(name, resolve);
            }
            Class<?> loaded = findLoadedClass(name);
            if (loaded != null) {
                return loaded;
            }
            try (InputStream file = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                byte[] code = file.readAllBytes();
                return defineClass(name, code, 0, code.length);
            } catch (IOException e) {
                throw new ClassNotFoundException(name, e);
            }
        }

        @Override
        public void close() {}
    }

    public static Credential credential() {
        RUNS.add("get");
        // A token that names no role and that no server accepts.
        return Credential.of(request -> new AccessToken("e30.e30.e30", java.time.Instant.now().plusSeconds(3600)));
    }

    public static final class Provider implements Supplier<Credential> {
        static {
            RUNS.add("initialized");
        }

        public Provider() {
            RUNS.add("constructed");
        }

        public Provider(Properties properties) {
            RUNS.add(properties.getProperty("azure.tokenCredentialProviderClassName") == null
                    ? "constructed without properties"
                    : "constructed with properties");
        }

        @Override
        public Credential get() {
            return Suppliers.credential();
        }
    }

    public static final class Plain implements Supplier<Credential> {
        static {
            RUNS.add("initialized");
        }

        public Plain() {
            RUNS.add("constructed");
        }

        @Override
        public Credential get() {
            return Suppliers.credential();
        }
    }

    public static final class Other {
        static {
            RUNS.add("initialized");
        }

        public Other() {
            RUNS.add("constructed");
        }
    }

    public static final class Hidden implements Supplier<Credential> {
        static {
            RUNS.add("initialized");
        }

        Hidden() {}

        @Override
        public Credential get() {
            return Suppliers.credential();
        }
    }

    public static final class Failing implements Supplier<Credential> {
        static {
            RUNS.add("initialized");
        }

        public Failing() {
            throw new IllegalStateException("canary");
        }

        @Override
        public Credential get() {
            return null;
        }
    }

    public static final class Text implements Supplier<String> {
        static {
            RUNS.add("initialized");
        }

        public Text() {
            RUNS.add("constructed");
        }

        @Override
        public String get() {
            RUNS.add("get");
            return "canary";
        }
    }

    public static final class Nothing implements Supplier<Credential> {
        static {
            RUNS.add("initialized");
        }

        public Nothing() {
            RUNS.add("constructed");
        }

        @Override
        public Credential get() {
            RUNS.add("get");
            return null;
        }
    }
}
