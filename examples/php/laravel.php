<?php

declare(strict_types=1);

require __DIR__ . '/setup.php';

use Illuminate\Database\Capsule\Manager;
use PgEntra\Laravel\EntraConnector;

// Laravel's database layer by itself. In an application, the package's service provider binds the connector, and
// config/database.php has the key 'entra'.
report(static function (): string {
    $manager = new Manager();
    $manager->getContainer()->bind('db.connector.pgsql', EntraConnector::class);
    $manager->addConnection([
        'driver' => 'pgsql',
        'host' => getenv('PGHOST'),
        'port' => getenv('PGPORT') ?: 5432,
        'database' => getenv('PGDATABASE'),
        'sslmode' => 'verify-full',
        'charset' => 'utf8',
        'entra' => true,
    ]);
    return $manager->getConnection()->selectOne('select current_user as role')->role;
});
