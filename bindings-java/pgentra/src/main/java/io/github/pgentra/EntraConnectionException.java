package io.github.pgentra;

import java.util.Map;

/** The settings of a connection contradict each other, or TLS is off. */
public class EntraConnectionException extends EntraException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public EntraConnectionException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
