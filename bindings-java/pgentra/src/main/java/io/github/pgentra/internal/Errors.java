package io.github.pgentra.internal;

import io.github.pgentra.AuthenticationException;
import io.github.pgentra.CredentialUnavailableException;
import io.github.pgentra.CredentialValueException;
import io.github.pgentra.EntraConnectionException;
import io.github.pgentra.EntraException;
import io.github.pgentra.ScopePermissionException;
import io.github.pgentra.TokenDecodeException;
import io.github.pgentra.UsernameExtractionException;
import java.util.Map;

/** Exceptions of the engine's errors. */
public final class Errors {
    /** The numbers of docs/errors.md that Java code raises itself. */
    public static final int INVALID_CONFIGURATION = 15;

    public static final int INVALID_CONNECTION = 16;
    public static final int INSECURE_TRANSPORT = 17;
    public static final int CANCELLED = 20;

    private Errors() {}

    static void check(byte[][] errors) {
        if (errors[0] != null) {
            throw of(Native.string(errors[0]), null);
        }
    }

    /** The exception of an error: its message, a NUL and its JSON document. */
    static EntraException of(String error, Throwable cause) {
        int end = error.indexOf('\0');
        Map<String, Object> detail = Json.object(error.substring(end + 1));
        String message = error.substring(0, end);
        return switch (String.valueOf(detail.get("error_class"))) {
            case "CredentialUnavailableError" -> new CredentialUnavailableException(message, detail, cause);
            case "AuthenticationError" -> new AuthenticationException(message, detail, cause);
            case "CredentialValueError" -> new CredentialValueException(message, detail, cause);
            case "EntraConnectionValueError" -> new EntraConnectionException(message, detail, cause);
            case "ScopePermissionError" -> new ScopePermissionException(message, detail, cause);
            case "TokenDecodeError" -> new TokenDecodeException(message, detail, cause);
            case "UsernameExtractionError" -> new UsernameExtractionException(message, detail, cause);
            default -> new EntraException(message, detail, cause);
        };
    }

    /** The exception of a native library that was not loaded, which cannot describe its errors. */
    static EntraException notLoaded(Throwable cause) {
        Map<String, Object> detail =
                Map.of("code", "invalid_configuration", "error_class", "CredentialValueError", "transient", false);
        return new CredentialValueException(cause.getMessage(), detail, cause);
    }

    /** An exception with the texts that all errors have: {@code message} is what failed, {@code advice} what to do. */
    public static EntraException create(int kind, String message, String advice) {
        return create(kind, message, advice, null);
    }

    /** As {@link #create(int, String, String)}, with a cause. */
    public static EntraException create(int kind, String message, String advice, Throwable cause) {
        Native.require();
        byte[][] texts = {Native.utf8(Integer.toString(kind)), Native.utf8(message), Native.utf8(advice), null};
        byte[][] errors = new byte[1][];
        Native.call(Native.ERROR_NEW, texts, errors);
        return of(Native.string(errors[0]), cause);
    }
}
