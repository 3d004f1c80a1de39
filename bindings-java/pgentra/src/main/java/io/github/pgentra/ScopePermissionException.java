package io.github.pgentra;

import java.util.Map;

/** The management scope was refused, so the role name could not be looked up. */
public class ScopePermissionException extends EntraException {
    private static final long serialVersionUID = 1L;

    /** For the library. */
    public ScopePermissionException(String message, Map<String, Object> detail, Throwable cause) {
        super(message, detail, cause);
    }
}
