<?php

declare(strict_types=1);

require __DIR__ . '/setup.php';

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\DriverManager;
use PgEntra\Doctrine\EntraMiddleware;

report(static function (): string {
    $configuration = new Configuration();
    $configuration->setMiddlewares([new EntraMiddleware()]);
    $connection = DriverManager::getConnection([
        'driver' => 'pdo_pgsql',
        'host' => getenv('PGHOST'),
        'port' => (int) (getenv('PGPORT') ?: 5432),
        'dbname' => getenv('PGDATABASE'),
        'sslmode' => 'verify-full',
    ], $configuration);
    return $connection->fetchOne('select current_user');
});
