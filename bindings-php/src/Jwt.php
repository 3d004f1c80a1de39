<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\Library;

/** Reads tokens, without verifying them. */
final class Jwt
{
    private function __construct()
    {
    }

    /**
     * Returns all claims of a token.
     *
     * @return array<array-key, mixed>
     * @throws TokenDecodeException the token is not a readable JWT
     */
    public static function decode(#[\SensitiveParameter] string $token): array
    {
        return Library::document('pgentra_decode_jwt', $token);
    }

    /**
     * Describes a token: `role` (name, source; or null), `principal` (kind, oid, tid, appid, idtyp), `audience`, `expires_on`,
     * `not_before` and `issued_at` (seconds since 1970).
     *
     * @return array<array-key, mixed>
     * @throws TokenDecodeException the token is not a readable JWT
     */
    public static function describe(#[\SensitiveParameter] string $token): array
    {
        return Library::document('pgentra_describe_token', $token);
    }
}
