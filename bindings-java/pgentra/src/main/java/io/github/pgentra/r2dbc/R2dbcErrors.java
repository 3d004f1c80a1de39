package io.github.pgentra.r2dbc;

import io.github.pgentra.AuthenticationException;
import io.github.pgentra.EntraException;
import io.github.pgentra.ScopePermissionException;
import io.github.pgentra.TokenDecodeException;
import io.github.pgentra.UsernameExtractionException;
import io.r2dbc.spi.R2dbcException;
import io.r2dbc.spi.R2dbcNonTransientResourceException;
import io.r2dbc.spi.R2dbcPermissionDeniedException;
import io.r2dbc.spi.R2dbcTransientResourceException;

/** The R2DBC exceptions of pgentra's errors, by which frameworks decide whether to try again. */
final class R2dbcErrors {
    private R2dbcErrors() {}

    static R2dbcException of(EntraException error) {
        if (error.isTransient()) {
            return new R2dbcTransientResourceException(error.getMessage(), "08001", error);
        }
        boolean isAboutIdentity = error instanceof AuthenticationException
                || error instanceof ScopePermissionException
                || error instanceof TokenDecodeException
                || error instanceof UsernameExtractionException;
        return isAboutIdentity
                ? new R2dbcPermissionDeniedException(error.getMessage(), "28000", error)
                : new R2dbcNonTransientResourceException(error.getMessage(), "08004", error);
    }
}
