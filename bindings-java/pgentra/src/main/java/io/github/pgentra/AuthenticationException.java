package io.github.pgentra;

import java.util.Map;

/** The token source refused the credential, or could not be used. */
public class AuthenticationException extends EntraException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public AuthenticationException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
