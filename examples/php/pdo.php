<?php

declare(strict_types=1);

require __DIR__ . '/setup.php';

report(static function (): string {
    $server = getenv('PGHOST');
    $database = getenv('PGDATABASE');
    $pdo = PgEntra\Pdo::connect(
        "pgsql:host=$server;dbname=$database;sslmode=verify-full",
        options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION],
    );
    return $pdo->query('select current_user')->fetchColumn();
});
