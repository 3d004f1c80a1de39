<?php

declare(strict_types=1);

/** Prints, in microseconds: a warm login; what a request of PHP-FPM adds: to load the declarations, open, log in and close. */

require dirname(__DIR__, 2) . '/bindings-php/tests/autoload.php';

use PgEntra\Internal\Library;
use PgEntra\TokenProvider;

$token = 'e30.' . rtrim(base64_encode('{"upn":"alice","exp":4000000000}'), '=') . '.x';
$options = ['credential' => ['type' => 'static_token', 'token' => $token]];
$provider = new TokenProvider($options);
$provider->login();

/** Returns the microseconds of a call. */
function measure(int $times, callable $work): float
{
    $began = hrtime(true);
    for ($i = 0; $i < $times; $i++) {
        $work();
    }
    return (hrtime(true) - $began) / $times / 1000;
}

$warm = measure(200_000, static fn () => $provider->login());
$library = new ReflectionProperty(Library::class, 'library');
$request = measure(2_000, static function () use ($library, $options): void {
    $library->setValue(null, null);
    (new TokenProvider($options))->login();
});
echo json_encode(['warm_us' => $warm, 'request_us' => $request]);
