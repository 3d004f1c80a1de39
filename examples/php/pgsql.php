<?php

declare(strict_types=1);

require __DIR__ . '/setup.php';

// The server, the database and the TLS mode are in PGHOST, PGDATABASE and PGSSLMODE.
report(static function (): string {
    $connection = PgEntra\Pgsql::connect();
    return pg_fetch_result(pg_query($connection, 'select current_user'), 0, 0);
});
