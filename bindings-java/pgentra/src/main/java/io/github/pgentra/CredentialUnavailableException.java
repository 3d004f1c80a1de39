package io.github.pgentra;

import java.util.Map;

/** The credential is not set up on this machine; a chain goes on to its next member. */
public class CredentialUnavailableException extends AuthenticationException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public CredentialUnavailableException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
