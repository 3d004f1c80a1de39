package io.github.pgentra.jdbc;

import io.github.pgentra.AuthenticationException;
import io.github.pgentra.EntraException;
import io.github.pgentra.ScopePermissionException;
import io.github.pgentra.TokenDecodeException;
import io.github.pgentra.UsernameExtractionException;
import java.sql.SQLException;
import java.sql.SQLInvalidAuthorizationSpecException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;

/** The SQL exceptions of pgentra's errors, by which pools and frameworks decide whether to try again. */
final class SqlErrors {
    /** "Unable to establish connection": try again. */
    static final String CANNOT_CONNECT = "08001";

    /** "Server rejected the connection": the settings are wrong. */
    static final String REJECTED = "08004";

    private static final String INVALID_AUTHORIZATION = "28000";

    private SqlErrors() {}

    static boolean isAboutIdentity(EntraException error) {
        return error instanceof AuthenticationException
                || error instanceof ScopePermissionException
                || error instanceof TokenDecodeException
                || error instanceof UsernameExtractionException;
    }

    static SQLException of(EntraException error) {
        if (error.isTransient()) {
            return new SQLTransientConnectionException(error.getMessage(), CANNOT_CONNECT, error);
        }
        return isAboutIdentity(error)
                ? new SQLInvalidAuthorizationSpecException(error.getMessage(), INVALID_AUTHORIZATION, error)
                : new SQLNonTransientConnectionException(error.getMessage(), REJECTED, error);
    }
}
