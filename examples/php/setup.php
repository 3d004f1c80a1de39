<?php

declare(strict_types=1);

// Composer's class loader; PGENTRA_AUTOLOAD names another one, for a run without Composer.
require getenv('PGENTRA_AUTOLOAD') ?: __DIR__ . '/vendor/autoload.php';

/** Runs a function that returns the role of a connection, and prints it with the time. */
function report(callable $logIn): void
{
    $began = hrtime(true);
    try {
        $role = $logIn();
    } catch (Throwable $e) {
        fwrite(STDERR, $e::class . ': ' . $e->getMessage() . "\n");
        exit(1);
    }
    printf("sync: logged in as %s after %d ms\n", $role, (hrtime(true) - $began) / 1e6);
}
