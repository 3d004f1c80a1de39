<?php

declare(strict_types=1);

namespace PgEntra\Doctrine;

use Doctrine\DBAL\Driver;
use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Exception as DriverException;
use Doctrine\DBAL\Driver\Middleware\AbstractDriverMiddleware;
use PgEntra\Internal\Library;
use PgEntra\Internal\LoginAttempt;

/** @internal */
final class EntraDriver extends AbstractDriverMiddleware
{
    /** The parameters of DBAL that are settings of libpq, under the same names. */
    private const SETTINGS = [
        'host', 'port', 'user', 'password', 'dbname', 'sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'sslcrl', 'gssencmode',
        'application_name',
    ];

    /** @param array<string, mixed> $options */
    public function __construct(Driver $driver, #[\SensitiveParameter] private readonly array $options)
    {
        parent::__construct($driver);
    }

    /** @param array<string, mixed> $params */
    public function connect(#[\SensitiveParameter] array $params): Connection
    {
        if (
            !in_array($params['driver'] ?? null, ['pdo_pgsql', 'pgsql'], true)
            && !self::hasPostgresClass($params)
        ) {
            return parent::connect($params);
        }
        if (($params['persistent'] ?? false) || ($params['driverOptions'][\PDO::ATTR_PERSISTENT] ?? false)) {
            throw Library::newError(
                Library::INVALID_CONNECTION,
                'a persistent connection is kept for each password, and each token is another password',
                'Leave the parameter "persistent" out. Use PgBouncer for connections that outlive a request.',
            );
        }
        $arguments = array_filter(
            array_intersect_key($params, array_flip(self::SETTINGS)),
            static fn (mixed $value): bool => $value !== null && $value !== '',
        );
        $attempt = new LoginAttempt(['arguments' => $arguments], $this->options);
        if ($attempt->usesEntra) {
            unset($params['password']);
        }
        foreach ($attempt->plan['settings'] as $name => $value) {
            $params[$name] = $value;
        }
        if ($attempt->plan['sslmode'] !== null) {
            $params['sslmode'] = $attempt->plan['sslmode'];
        }
        $open = fn (?string $user, #[\SensitiveParameter] ?string $password): Connection
            => parent::connect($user === null ? $params : [...$params, 'user' => $user, 'password' => $password]);
        return $attempt->connect(
            $open,
            static fn (\Throwable $e): ?string => $e instanceof DriverException ? $e->getMessage() : null,
            static fn (\Throwable $e, string $explanation): \Throwable => new LoginException($e, $explanation),
        );
    }

    /** @param array<string, mixed> $params */
    private static function hasPostgresClass(array $params): bool
    {
        $class = $params['driverClass'] ?? null;
        return is_string($class) && is_subclass_of($class, Driver\AbstractPostgreSQLDriver::class);
    }
}
