<?php

declare(strict_types=1);

namespace PgEntra;

/** A credential of the application. Options take it, or a callable with the same argument and result, as `credential`. */
interface TokenCredential
{
    /**
     * Returns a token. It is called inside a call of this package that needs a token, on the same thread. Throw
     * CredentialUnavailableException::unavailable() if the credential is not set up, so that a chain continues with its next
     * member.
     */
    public function getToken(TokenRequest $request): AccessToken;
}
