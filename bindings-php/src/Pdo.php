<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\Library;
use PgEntra\Internal\LoginAttempt;

/** Connections of PDO. */
final class Pdo
{
    private function __construct()
    {
    }

    /**
     * Connects as `new PDO` does, with the role and the token of an Entra identity in place of a password.
     *
     *     $pdo = PgEntra\Pdo::connect('pgsql:host=shop.postgres.database.azure.com;dbname=shop;sslmode=verify-full');
     *
     * A user and a password, in the arguments or the DSN, are used as they are. Without an sslmode, "require" is used. If the
     * server rejects the login and a newer token may help, it tries once more.
     *
     * @param string $dsn a DSN of pdo_pgsql, with "pgsql:"
     * @param array<int, mixed>|null $options of PDO. PDO::ATTR_PERSISTENT is an error: PDO keeps connections by their
     *     password, so that each new token would add one to each worker
     * @param array<string, mixed> $entra `credential`, `service_connector` and others: docs/php.md
     * @throws EntraException no token, or invalid settings
     * @throws \PDOException no connection. The message of a rejected login contains the principal, the role and what to do
     */
    public static function connect(
        #[\SensitiveParameter] string $dsn,
        ?string $username = null,
        #[\SensitiveParameter] ?string $password = null,
        ?array $options = null,
        #[\SensitiveParameter] array $entra = [],
    ): \PDO {
        if ($options[\PDO::ATTR_PERSISTENT] ?? false) {
            throw self::invalid(
                'PDO::ATTR_PERSISTENT keeps one connection for each password, and each token is another password',
                'Leave the attribute out. Use PgBouncer for connections that outlive a request.',
            );
        }
        if (!str_starts_with(strtolower($dsn), 'pgsql:')) {
            throw self::invalid('the DSN does not begin with "pgsql:"', 'Write pgsql:host=SERVER;dbname=DATABASE.');
        }
        // As pdo_pgsql reads a DSN.
        $text = strtr(substr($dsn, strlen('pgsql:')), ';', ' ');
        $arguments = array_filter(
            ['user' => $username, 'password' => $password],
            static fn (?string $value): bool => $value !== null && $value !== '',
        );
        $options ??= [];
        if (isset($options[\PDO::ATTR_TIMEOUT])) {
            $arguments['timeout'] = (int) $options[\PDO::ATTR_TIMEOUT];
        }
        $attempt = new LoginAttempt(['arguments' => $arguments, 'text' => $text, 'form' => 'libpq'], $entra);
        // A trace of PDO shows its DSN, but not its password.
        $settings = Library::document('pgentra_connection_read', $attempt->conninfo(), 'libpq');
        $own = $settings['password'] ?? null;
        unset($settings['password']);
        $given = '';
        foreach ($settings as $name => $value) {
            $given .= "$name='" . addcslashes((string) $value, "'\\") . "' ";
        }
        if (str_contains($given, ';')) {
            throw self::invalid('a setting contains a semicolon, which a DSN of PDO cannot', 'Choose another value.');
        }
        $open = static fn (?string $user, #[\SensitiveParameter] ?string $token): \PDO
            => new \PDO("pgsql:$given", $user, $token ?? $own, $options);
        return $attempt->connect($open, self::messageOf(...), self::explained(...));
    }

    /** @internal */
    public static function messageOf(\Throwable $e): ?string
    {
        return $e instanceof \PDOException ? $e->getMessage() : null;
    }

    /** @internal */
    public static function explained(\Throwable $e, string $explanation): \PDOException
    {
        $explained = new \PDOException($e->getMessage() . "\n" . $explanation, (int) $e->getCode(), $e);
        $explained->errorInfo = $e instanceof \PDOException ? $e->errorInfo : null;
        return $explained;
    }

    private static function invalid(string $message, string $advice): EntraException
    {
        return Library::newError(Library::INVALID_CONNECTION, $message, $advice);
    }
}
