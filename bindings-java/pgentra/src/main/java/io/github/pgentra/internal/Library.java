package io.github.pgentra.internal;

import java.util.Map;

/** Functions of the engine that need no handle. */
public final class Library {
    private Library() {}

    /** Returns the version of the native library. */
    public static String version() {
        return Native.text(Native.VERSION);
    }

    /** Returns the statistics of all cached tokens as JSON. */
    public static String stats() {
        return Native.text(Native.STATS);
    }

    /** Reads a connection string: {@code form} is "jdbc", "url", "libpq" or "dotnet". The result may hold a password. */
    public static Map<String, Object> readConnection(String text, String form) {
        return Json.object(Native.text(Native.CONNECTION_READ, text, form));
    }

    /** Decides how a connection logs in; docs/c.md describes request and plan. */
    public static Map<String, Object> planConnection(Map<String, Object> request) {
        return Json.object(Native.text(Native.CONNECTION_PLAN, Json.write(request)));
    }

    /** Returns whether a newer token may succeed where a server refused a login with this error. */
    public static boolean isRetriable(String sqlState, String message) {
        return "true".equals(Native.text(Native.LOGIN_ERROR_IS_RETRIABLE, sqlState, message));
    }

    /** Returns the lines to add to a login error. */
    public static String explain(
            String sqlState, String message, String role, String roleSource, String token, String host) {
        return explain(sqlState, message, role, roleSource, token, host, null);
    }

    /** As above; {@code environment}: the variables, by which it finds those of Service Connector that were not used. */
    public static String explain(
            String sqlState,
            String message,
            String role,
            String roleSource,
            String token,
            String host,
            String environment) {
        String[] texts = {sqlState, message, role, roleSource, token, host, environment};
        String lines = Native.text(Native.LOGIN_ERROR_EXPLAIN, texts);
        return lines == null ? "" : lines;
    }

    /** Returns role, principal, audience and times of a token as JSON. */
    public static String describeToken(String token) {
        return Native.text(Native.DESCRIBE_TOKEN, token);
    }

    /** Returns cloud, scope and authority host for these settings as JSON; each may be null. */
    public static String resolveCloud(
            String scope, String host, String authorityHost, String cloud, String environmentAuthorityHost) {
        return Native.text(Native.RESOLVE_CLOUD, scope, host, authorityHost, cloud, environmentAuthorityHost);
    }

    /** Runs a case of tests/vectors: needs a native library with the feature {@code testing}. */
    public static String runVector(String group, String testCase, String directory) {
        return Native.text(Native.RUN_VECTOR, group, testCase, directory);
    }

    /** Calls a text function by its number, for tests. */
    static String text(int function, String... arguments) {
        return Native.text(function, arguments);
    }
}
