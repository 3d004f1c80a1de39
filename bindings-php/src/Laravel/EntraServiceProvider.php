<?php

declare(strict_types=1);

namespace PgEntra\Laravel;

use Illuminate\Support\ServiceProvider;

/**
 * Makes the key 'entra' of a PostgreSQL connection in config/database.php effective: `true`, or an array of options (docs/php.md).
 * Laravel finds this provider by itself.
 */
final class EntraServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->app->bind('db.connector.pgsql', EntraConnector::class);
    }
}
