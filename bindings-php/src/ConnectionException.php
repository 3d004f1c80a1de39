<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\Library;

/**
 * A connection of PgEntra\Pgsql failed. The message is that of libpq; if the server rejected the login, the principal, the role
 * and what to do follow.
 */
class ConnectionException extends EntraException
{
    /** @internal */
    public static function failed(string $message, string $explanation = ''): EntraException
    {
        $library = Library::load();
        $cause = (string) $library->pgentra_login_error_cause(null, $message);
        return self::create(
            $explanation === '' ? $message : "$message\n$explanation",
            ['error_class' => 'ConnectionError', 'code' => $cause, 'transient' => $cause === 'not_a_login'],
        );
    }
}
