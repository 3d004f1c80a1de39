package io.github.pgentra.internal;

import io.github.pgentra.AccessToken;
import io.github.pgentra.Login;
import java.lang.ref.Cleaner;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** A provider of the engine. A warm call compares an id and returns the string that Java has. */
public final class TokenClient implements AutoCloseable {
    private static final Cleaner CLEANER = Cleaner.create();

    /** The option {@code timeout}. */
    private static final int DEFAULT_TIMEOUT = -1;

    /** The default of the option {@code timeout}, in seconds. */
    private static final double DEFAULT_SECONDS = 30;

    private final long provider;
    private final int limitMs;
    private final Cleaner.Cleanable cleanable;
    private volatile Cached<AccessToken> token = new Cached<>(0, null);
    private volatile Cached<Login> login = new Cached<>(0, null);

    private record Cached<T>(long id, T value) {}

    /** Opens a provider by a configuration document. */
    public TokenClient(Map<String, Object> config, CredentialHandle credential) {
        Logging.start();
        byte[][] errors = new byte[1][];
        byte[] document = Native.utf8(Json.write(config));
        Object seconds = config.get("timeout");
        limitMs = (int) (1000 * (seconds instanceof Number number ? number.doubleValue() : DEFAULT_SECONDS));
        provider = Native.open(document, credential == null ? 0 : credential.handle(), errors);
        java.util.Arrays.fill(document, (byte) 0);
        Errors.check(errors);
        long handle = provider;
        cleanable = CLEANER.register(this, () -> Native.close(handle));
    }

    static Cleaner cleaner() {
        return CLEANER;
    }

    /** Returns the cached token, or null if none is usable. */
    public AccessToken cachedToken() {
        Cached<AccessToken> known = token;
        long id = Native.tryGet(provider, false, known.id);
        if (id == 0) {
            return null;
        }
        return id == known.id ? known.value : readToken();
    }

    private Login cachedLogin() {
        Cached<Login> known = login;
        long id = Native.tryGet(provider, true, known.id);
        if (id == 0) {
            return null;
        }
        return id == known.id ? known.value : readLogin();
    }

    private AccessToken readToken() {
        byte[][] texts = new byte[3][];
        byte[][] errors = new byte[1][];
        long[] times = new long[1];
        long id = Native.current(provider, false, texts, times, errors);
        Errors.check(errors);
        return id == 0 ? null : keepToken(Native.string(texts[0]), times[0], 0, id);
    }

    private Login readLogin() {
        byte[][] texts = new byte[3][];
        byte[][] errors = new byte[1][];
        long[] times = new long[1];
        long id = Native.current(provider, true, texts, times, errors);
        Errors.check(errors);
        return id == 0
                ? null
                : keepLogin(
                        Native.string(texts[0]), Native.string(texts[1]), Native.string(texts[2]), times[0], id);
    }

    private AccessToken keepToken(String text, long expiresOn, long refreshOn, long id) {
        Cached<AccessToken> known = token;
        if (known.id == id && id != 0) {
            return known.value;
        }
        AccessToken value = new AccessToken(text, time(expiresOn), time(refreshOn));
        token = new Cached<>(id, value);
        return value;
    }

    private Login keepLogin(String password, String user, String source, long expiresOn, long id) {
        Cached<Login> known = login;
        if (known.id == id && id != 0) {
            return known.value;
        }
        Login value = new Login(user, password, source, time(expiresOn));
        login = new Cached<>(id, value);
        return value;
    }

    static Instant time(long seconds) {
        return seconds > 0 ? Instant.ofEpochSecond(seconds) : null;
    }

    /** Returns a token; waits only while none is usable. */
    public AccessToken token() {
        return token(DEFAULT_TIMEOUT);
    }

    /** As {@link #token()}; waits at most {@code timeoutMs} if that is not negative. */
    public AccessToken token(int timeoutMs) {
        AccessToken cached = cachedToken();
        return cached != null ? cached : startToken(timeoutMs).await();
    }

    /** As {@link #token}, without blocking. */
    public CompletableFuture<AccessToken> tokenAsync() {
        AccessToken cached = cachedToken();
        return cached != null ? CompletableFuture.completedFuture(cached) : startToken(DEFAULT_TIMEOUT);
    }

    /** Returns a login; waits only while there is no usable token, at most {@code timeoutMs} if that is not negative. */
    public Login login(int timeoutMs) {
        Login cached = cachedLogin();
        return cached != null ? cached : startLogin(timeoutMs).await();
    }

    /** As {@link #login}, without blocking. */
    public CompletableFuture<Login> loginAsync() {
        Login cached = cachedLogin();
        return cached != null ? CompletableFuture.completedFuture(cached) : startLogin(DEFAULT_TIMEOUT);
    }

    /** A caller's limit shortens the option {@code timeout} and does not extend it. */
    private int within(int timeoutMs) {
        return timeoutMs < 0 ? timeoutMs : Math.min(timeoutMs, limitMs);
    }

    private PendingCall<AccessToken> startToken(int timeoutMs) {
        return PendingCall.start(
                (text, user, source, expiresOn, refreshOn, id) -> keepToken(text, expiresOn, refreshOn, id),
                (completion, errors) ->
                        Native.start(provider, Native.START_TOKEN, null, within(timeoutMs), completion, errors));
    }

    private PendingCall<Login> startLogin(int timeoutMs) {
        return PendingCall.start(
                (text, user, source, expiresOn, refreshOn, id) -> keepLogin(text, user, source, expiresOn, id),
                (completion, errors) ->
                        Native.start(provider, Native.START_LOGIN, null, within(timeoutMs), completion, errors));
    }

    /** Reports that a server refused a login with a token; returns whether there is a newer one to try once more. */
    public boolean invalidate(String refused, int timeoutMs) {
        return startInvalidate(refused, timeoutMs).await();
    }

    /** As {@link #invalidate}, without blocking. */
    public CompletableFuture<Boolean> invalidateAsync(String refused) {
        return startInvalidate(refused, DEFAULT_TIMEOUT);
    }

    private PendingCall<Boolean> startInvalidate(String refused, int timeoutMs) {
        return PendingCall.start(
                (text, user, source, expiresOn, refreshOn, id) -> text != null,
                (completion, errors) -> Native.start(
                        provider, Native.START_INVALIDATE, Native.utf8(refused), within(timeoutMs), completion, errors));
    }

    /** Returns the provider's statistics; docs/observability.md lists the keys. */
    public Map<String, Object> stats() {
        byte[][] errors = new byte[1][];
        byte[] json = Native.stats(provider, errors);
        Errors.check(errors);
        return Json.object(Native.string(json));
    }

    @Override
    public void close() {
        cleanable.clean();
    }
}
