<?php

declare(strict_types=1);

/** The connections of benchmarks/soak.py in PHP: pg_connect and PDO in turn, a line for each login. */

require dirname(__DIR__, 2) . '/bindings-php/tests/autoload.php';

const PAUSE_US = 200_000;

$drivers = [
    'pg_connect' => static fn (): string => pg_fetch_result(
        pg_query(PgEntra\Pgsql::connect('sslmode=verify-full', PGSQL_CONNECT_FORCE_NEW), 'select current_user'),
        0,
        0,
    ),
    'PDO' => static fn (): string => PgEntra\Pdo::connect(
        'pgsql:host=' . getenv('PGHOST') . ';port=' . getenv('PGPORT') . ';dbname=' . getenv('PGDATABASE') . ';sslmode=verify-full',
        options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION],
    )->query('select current_user')->fetchColumn(),
];

while (true) {
    foreach ($drivers as $name => $logIn) {
        [$began, $started, $role, $error] = [microtime(true), hrtime(true), '', ''];
        try {
            $role = @$logIn();
        } catch (Throwable $e) {
            $error = $e::class . ': ' . preg_replace('/\s+/', ' ', $e->getMessage());
        }
        printf("%s\t%.3f\t%.3f\t%s\t%s\n", $name, $began, (hrtime(true) - $started) / 1e9, $role, $error);
        [$read, $write, $except] = [[STDIN], null, null];
        // Standard input ends when the program is to end.
        if (stream_select($read, $write, $except, 0, PAUSE_US)) {
            exit(0);
        }
    }
}
