<?php

declare(strict_types=1);

namespace PgEntra\Doctrine;

use Doctrine\DBAL\Driver;
use Doctrine\DBAL\Driver\Middleware;

/**
 * Logs connections of Doctrine DBAL to PostgreSQL in with an Entra identity. In Symfony, a service of this class with the tag
 * "doctrine.middleware" is enough. Connections to other databases are not changed.
 *
 *     $configuration->setMiddlewares([new PgEntra\Doctrine\EntraMiddleware()]);
 *     $connection = DriverManager::getConnection(['driver' => 'pdo_pgsql', 'host' => '...', 'sslmode' => 'verify-full'], $configuration);
 */
final class EntraMiddleware implements Middleware
{
    /** @param array<string, mixed> $options `credential`, `service_connector` and others: docs/php.md */
    public function __construct(#[\SensitiveParameter] private readonly array $options = [])
    {
    }

    public function wrap(Driver $driver): Driver
    {
        return new EntraDriver($driver, $this->options);
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['options' => array_keys($this->options)];
    }
}
