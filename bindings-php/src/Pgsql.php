<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\LoginAttempt;

/** Connections of the extension pgsql. */
final class Pgsql
{
    private function __construct()
    {
    }

    /**
     * Connects as pg_connect() does, with the role and the token of an Entra identity in place of a password.
     *
     *     $connection = PgEntra\Pgsql::connect('host=shop.postgres.database.azure.com dbname=shop sslmode=verify-full');
     *
     * A user and a password in the connection string are used as they are. Without an sslmode, "require" is used. If the server
     * rejects the login and a newer token may help, it tries once more.
     *
     * @param string $conninfo a connection string or URI of libpq; PG* variables and connection services apply
     * @param int $flags PGSQL_CONNECT_FORCE_NEW
     * @param array<string, mixed> $options `credential`, `service_connector` and others: docs/php.md
     * @throws EntraException no token, invalid settings, or (ConnectionException) no connection. It raises no warning
     */
    public static function connect(
        #[\SensitiveParameter] string $conninfo = '',
        int $flags = 0,
        #[\SensitiveParameter] array $options = [],
    ): \PgSql\Connection {
        if (($flags & PGSQL_CONNECT_ASYNC) !== 0) {
            throw Internal\Library::newError(
                Internal\Library::INVALID_CONNECTION,
                'PGSQL_CONNECT_ASYNC leaves the login to the caller',
                'Leave the flag out, or use TokenProvider::login() and pg_connect().',
            );
        }
        $attempt = new LoginAttempt(['text' => $conninfo, 'form' => 'libpq'], $options);
        $open = static function (?string $user, #[\SensitiveParameter] ?string $password) use ($attempt, $flags): \PgSql\Connection {
            $given = $attempt->conninfo();
            foreach (['user' => $user, 'password' => $password] as $name => $value) {
                if ($value !== null) {
                    $given .= " $name='" . addcslashes($value, "'\\") . "'";
                }
            }
            $message = 'the connection failed';
            set_error_handler(static function (int $_, string $text) use (&$message): bool {
                $message = $text;
                return true;
            });
            try {
                $connection = pg_connect($given, $flags);
            } finally {
                restore_error_handler();
            }
            return $connection !== false ? $connection : throw ConnectionException::failed($message);
        };
        return $attempt->connect(
            $open,
            static fn (\Throwable $e): ?string => $e instanceof ConnectionException ? $e->getMessage() : null,
            static fn (\Throwable $e, string $explanation): \Throwable
                => ConnectionException::failed($e->getMessage(), $explanation),
        );
    }
}
