package io.github.pgentra;

import java.util.Map;

/** A credential or an option has an invalid value. */
public class CredentialValueException extends EntraException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public CredentialValueException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
