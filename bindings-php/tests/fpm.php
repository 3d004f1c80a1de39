<?php

declare(strict_types=1);

/** The script that PHP-FPM runs in tests: logs in as its query says and returns JSON. */

if (!class_exists(PgEntra\Pdo::class)) {
    require __DIR__ . '/autoload.php';
}
parse_str($_SERVER['QUERY_STRING'] ?? '', $query);
$began = hrtime(true);
try {
    $entra = isset($query['client_id']) ? ['credential' => ['type' => 'managed_identity', 'client_id' => $query['client_id']]] : [];
    $pdo = PgEntra\Pdo::connect($query['dsn'], entra: $entra);
    $result = ['role' => $pdo->query('select current_user')->fetchColumn()];
} catch (Throwable $e) {
    $result = ['error' => $e->getMessage(), 'class' => $e::class];
}
// The tasks of this process whose names are those of the library's threads.
$threads = array_filter(
    array_map(static fn (string $file): string => trim((string) file_get_contents($file)), glob('/proc/self/task/*/comm') ?: []),
    static fn (string $name): bool => str_starts_with($name, 'pgentra'),
);
echo json_encode([
    ...$result, 'pid' => getmypid(), 'threads' => count($threads), 'ms' => (hrtime(true) - $began) / 1e6,
], JSON_THROW_ON_ERROR);
