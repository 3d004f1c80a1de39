<?php

declare(strict_types=1);

/** The classes of this package, as Composer would load them. */
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'PgEntra\\')) {
        $file = dirname(__DIR__) . '/src/' . strtr(substr($class, strlen('PgEntra\\')), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    }
});
