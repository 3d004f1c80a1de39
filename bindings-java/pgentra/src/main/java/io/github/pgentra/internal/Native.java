package io.github.pgentra.internal;

import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The native methods. None of them blocks. One that fails writes the error, its message, a NUL and its JSON document, to
 * element 0 of {@code errors} and returns 0 or null.
 */
final class Native {
    static final int VERSION = 0;
    static final int STATS = 1;
    static final int ERROR_KINDS = 2;
    static final int CONFIG_CHECK = 3;
    static final int CONNECTION_READ = 4;
    static final int CONNECTION_PLAN = 5;
    static final int CONNECTION_VARIABLES = 6;
    static final int KNOWN_VARIABLES = 7;
    static final int DECODE_JWT = 8;
    static final int PARSE_PRINCIPAL_NAME = 9;
    static final int LOGIN_ERROR_CAUSE = 10;
    static final int LOGIN_ERROR_IS_RETRIABLE = 11;
    static final int LOGIN_ERROR_EXPLAIN = 12;
    static final int ERROR_NEW = 13;
    static final int DESCRIBE_TOKEN = 14;
    static final int RESOLVE_CLOUD = 15;
    static final int RUN_VECTOR = 16;

    static final int START_TOKEN = 0;
    static final int START_LOGIN = 1;
    static final int START_INVALIDATE = 2;

    private static final Throwable FAILURE = load();

    private Native() {}

    private static Throwable load() {
        try {
            Loader.load();
            return null;
        } catch (Throwable e) {
            return e;
        }
    }

    /** Raises an error where the native library could not be loaded. Every entry point begins with it. */
    static void require() {
        if (FAILURE != null) {
            throw Errors.notLoaded(FAILURE);
        }
    }

    /** Calls one of the functions above, which take texts and return one. */
    static String text(int function, String... arguments) {
        require();
        byte[][] texts = new byte[arguments.length][];
        for (int i = 0; i < arguments.length; i++) {
            texts[i] = utf8(arguments[i]);
        }
        byte[][] errors = new byte[1][];
        byte[] result = call(function, texts, errors);
        Errors.check(errors);
        return string(result);
    }

    static byte[] utf8(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static String string(byte[] utf8) {
        return utf8 == null ? null : new String(utf8, StandardCharsets.UTF_8);
    }

    /** The variables of the process that the engine reads, with Java system properties of the same names put over them. */
    static Map<String, Object> environment(int names) {
        Map<String, Object> found = new LinkedHashMap<>();
        for (Object name : (Iterable<?>) Json.read(text(names))) {
            String value = System.getProperty((String) name, System.getenv((String) name));
            if (value != null) {
                found.put((String) name, value);
            }
        }
        return found;
    }

    static native byte[] call(int function, byte[][] arguments, byte[][] errors);

    static native long open(byte[] config, long credential, byte[][] errors);

    static native void close(long provider);

    static native long tryGet(long provider, boolean login, long id);

    static native long current(long provider, boolean login, byte[][] texts, long[] times, byte[][] errors);

    static native long start(
            long provider, int kind, byte[] refused, int timeoutMs, Completion completion, byte[][] errors);

    static native void cancel(long operation);

    static native void freeOperation(long operation);

    static native byte[] stats(long provider, byte[][] errors);

    static native long credentialOpen(byte[] config, long[] members, byte[][] errors);

    static native long credentialCallback(byte[] name, TokenCallback callback, byte[][] errors);

    static native void credentialClose(long credential);

    static native long credentialTryGet(
            long credential,
            byte[][] request,
            boolean enableCae,
            long id,
            byte[][] texts,
            long[] times,
            byte[][] errors);

    static native long credentialStart(
            long credential,
            byte[][] request,
            boolean enableCae,
            int timeoutMs,
            Completion completion,
            byte[][] errors);

    static native void respond(long request, byte[] token, long expiresOn, long refreshOn);

    static native void fail(long request, byte[] className, byte[] message, boolean unavailable, Throwable cause);

    static native void abandon(long request);

    static native void setLog(int level, LogSink sink, byte[][] errors);

    static native void shutdown();
}
