package io.github.pgentra;

import java.util.Map;

/**
 * An error of pgentra. The message says what failed, for which credential, what the service returned and what to do. It never
 * holds a token, a secret or a response body.
 *
 * <p>A driver or a pool may wrap it: {@link #find} searches the causes.
 */
public class EntraException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final transient Map<String, Object> detail;
    private final String code;
    private final boolean isTransient;
    private final Integer aadsts;

    /** For the library. */
    public EntraException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, cause);
        this.detail = Map.copyOf(withoutNulls(detail));
        code = String.valueOf(detail.getOrDefault("code", "internal"));
        isTransient = Boolean.TRUE.equals(detail.get("transient"));
        aadsts = detail.get("aadsts") instanceof Number number ? (Integer) number.intValue() : null;
    }

    private static Map<String, Object> withoutNulls(Map<String, Object> map) {
        Map<String, Object> copy = new java.util.HashMap<>(map);
        copy.values().removeIf(java.util.Objects::isNull);
        return copy;
    }

    /** Returns the stable text of the kind of error, such as {@code credential_unavailable}. */
    public String code() {
        return code;
    }

    /** Returns the number behind {@code AADSTS}, or null if Entra returned none. */
    public Integer aadsts() {
        return aadsts;
    }

    /** Returns whether the same call may succeed later although nothing was changed. */
    public boolean isTransient() {
        return isTransient;
    }

    /** Returns the error as data; docs/errors.md lists the keys. Empty after deserialization. */
    public Map<String, Object> detail() {
        return detail == null ? Map.of() : detail;
    }

    /** Returns the first error of this library in an exception and its causes, or null. */
    public static EntraException find(Throwable exception) {
        Throwable current = exception;
        for (int depth = 0; current != null && depth < 100; depth++) {
            if (current instanceof EntraException found) {
                return found;
            }
            current = current.getCause();
        }
        return null;
    }
}
