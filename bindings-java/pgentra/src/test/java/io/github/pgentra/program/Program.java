package io.github.pgentra.program;

import io.github.pgentra.AccessToken;
import io.github.pgentra.AuthenticationException;
import io.github.pgentra.EntraException;
import io.github.pgentra.Login;
import io.github.pgentra.TokenProvider;
import io.github.pgentra.TokenRequest;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.jdbc.EntraDataSource;
import java.io.File;
import java.lang.ref.WeakReference;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.sql.Connection;
import java.sql.ResultSet;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/** A program that {@code RuntimeTest} starts: {@code Program SITUATION [ARGUMENT]}. */
public final class Program {
    private Program() {}

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "login" -> login(arguments[1]);
            case "token" -> token();
            case "use" -> use();
            case "gap" -> gap(Integer.parseInt(arguments[1]));
            case "loaders" -> loaders(Integer.parseInt(arguments[1]));
            case "exit-idle" -> TokenProvider.builder().build().token();
            case "exit-during-fetch" -> TokenProvider.builder().build().tokenAsync();
            case "exit-during-wait" -> exitDuringWait();
            case "exit-in-callback" -> exitInCallback();
            case "exit-in-hook" -> exitInHook();
            case "exit-in-completion" -> TokenProvider.builder().build().tokenAsync().thenRun(() -> System.exit(0)).join();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static void login(String url) throws Exception {
        try (var source = EntraDataSource.builder(url).build();
                Connection connection = source.getConnection();
                ResultSet result = connection.createStatement().executeQuery("select current_user")) {
            result.next();
            System.out.println("role: " + result.getString(1));
        }
    }

    private static void token() {
        try (var provider = TokenProvider.builder().build()) {
            System.out.println("length: " + provider.token().token().length());
        } catch (EntraException e) {
            System.out.println(e.code() + ": " + e.getMessage());
            // The second call has the same error.
            EntraException again = null;
            try {
                TokenProvider.builder().build();
            } catch (EntraException second) {
                again = second;
            }
            System.out.println("again: " + (again != null && again.getMessage().equals(e.getMessage())));
        }
    }

    /** Every kind of call, for {@code -Xcheck:jni}. */
    private static void use() throws Exception {
        Credential custom = Credential.of(request -> {
            throw new IllegalStateException("no token");
        });
        Credential later = Credential.ofAsync(request -> java.util.concurrent.CompletableFuture.supplyAsync(
                () -> new AccessToken("e30.e30.e30", java.time.Instant.now().plusSeconds(600))));
        try (var provider = TokenProvider.builder().build();
                var failing = TokenProvider.builder().credential(custom).build();
                var other = TokenProvider.builder().credential(later).managementLookup(false).build()) {
            for (int i = 0; i < 3; i++) {
                provider.token();
                provider.login();
                other.token();
                try {
                    failing.token();
                } catch (AuthenticationException e) {
                    e.getCause();
                }
                try {
                    other.login();
                } catch (EntraException e) {
                    e.detail();
                }
            }
            provider.invalidate("e30.e30.e30");
            provider.stats();
            TokenProvider.allStats();
            later.getToken(new TokenRequest("https://ossrdbms-aad.database.windows.net/.default"));
            provider.loginAsync().cancel(true);
        }
        System.gc();
        System.out.println("used");
    }

    /**
     * Lets virtual threads wait for a token, and measures the longest time for which another virtual thread did not run.
     * Compiled for Java 17, which has no virtual threads.
     */
    private static void gap(int waiting) throws Exception {
        Method make = Executors.class.getMethod("newVirtualThreadPerTaskExecutor");
        AtomicLong longest = new AtomicLong();
        AtomicBoolean isDone = new AtomicBoolean();
        CountDownLatch started = new CountDownLatch(1);
        try (AutoCloseable closeable = (AutoCloseable) make.invoke(null);
                var provider = TokenProvider.builder().build()) {
            ExecutorService executor = (ExecutorService) closeable;
            executor.submit(() -> {
                long last = System.nanoTime();
                while (!isDone.get()) {
                    Thread.sleep(2);
                    started.countDown();
                    long now = System.nanoTime();
                    longest.accumulateAndGet((now - last) / 1_000_000, Math::max);
                    last = now;
                }
                return null;
            });
            started.await();
            longest.set(0);
            long start = System.nanoTime();
            List<Future<Login>> logins = new ArrayList<>();
            for (int i = 0; i < waiting; i++) {
                logins.add(executor.submit(provider::login));
            }
            for (Future<Login> login : logins) {
                login.get();
            }
            isDone.set(true);
            System.out.println("waited: " + (System.nanoTime() - start) / 1_000_000);
            System.out.println("gap: " + longest.get());
        }
    }

    /** Loads the library in class loaders one after another, each of which is collected. */
    private static void loaders(int count) throws Exception {
        List<URL> urls = new ArrayList<>();
        for (String path : System.getProperty("program.classpath").split(File.pathSeparator)) {
            urls.add(new File(path).toURI().toURL());
        }
        List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            URLClassLoader loader =
                    new URLClassLoader(urls.toArray(URL[]::new), ClassLoader.getPlatformClassLoader());
            Thread.currentThread().setContextClassLoader(loader);
            loader.loadClass(Program.class.getName())
                    .getMethod("main", String[].class)
                    .invoke(null, (Object) new String[] {"token"});
            Thread.currentThread().setContextClassLoader(null);
            loader.close();
            loaders.add(new WeakReference<>(loader));
        }
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (System.nanoTime() < end && loaders.stream().anyMatch(one -> one.get() != null)) {
            System.gc();
            Thread.sleep(50);
        }
        System.out.println("alive: " + loaders.stream().filter(one -> one.get() != null).count());
    }

    private static void exitDuringWait() throws Exception {
        Thread thread = new Thread(() -> TokenProvider.builder().build().token());
        thread.start();
        Thread.sleep(200);
        System.exit(0);
    }

    private static void exitInCallback() {
        Credential credential = Credential.of(request -> {
            System.exit(0);
            return null;
        });
        TokenProvider.builder().credential(credential).build().token();
    }

    private static void exitInHook() {
        var provider = TokenProvider.builder().build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook: " + provider.token().token().length())));
        provider.token();
    }
}
