package io.github.pgentra;

import java.util.Map;

/** No role name follows from the token. */
public class UsernameExtractionException extends EntraException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public UsernameExtractionException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
