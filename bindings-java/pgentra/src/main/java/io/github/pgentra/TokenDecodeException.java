package io.github.pgentra;

import java.util.Map;

/** The token is not a readable JWT. */
public class TokenDecodeException extends EntraException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public TokenDecodeException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
