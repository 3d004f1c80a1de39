<?php

declare(strict_types=1);

/**
 * For opcache.preload of PHP-FPM: loads the classes of this package, which may then use FFI under the default setting
 * ffi.enable=preload.
 *
 * With PGENTRA_PRELOAD=1 in the environment of PHP-FPM's master process, it also requests the first token there, which all
 * workers inherit. That needs the variables that select the server and the identity, as PGHOST, in the master's environment.
 */
(static function (): void {
    $folder = __DIR__ . '/src';
    spl_autoload_register($autoload = static function (string $class) use ($folder): void {
        $file = $folder . '/' . strtr(substr($class, strlen('PgEntra\\')), '\\', '/') . '.php';
        if (str_starts_with($class, 'PgEntra\\') && is_file($file)) {
            require_once $file;
        }
    });
    $classes = new RegexIterator(
        new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS)),
        '/\.php$/',
    );
    foreach ($classes as $file) {
        // Classes of frameworks and loggers need theirs.
        if (!preg_match('#/(Doctrine|Laravel)/#', (string) $file)) {
            require_once (string) $file;
        }
    }
    if (getenv('PGENTRA_PRELOAD', true) === '1') {
        try {
            $provider = new PgEntra\TokenProvider(['mode' => 'ahead', 'host' => getenv('PGHOST', true) ?: null]);
            $provider->token(10);
            // The role name may need a token of its own.
            $provider->login(10);
        } catch (PgEntra\UsernameExtractionException | PgEntra\ScopePermissionException) {
            // The connections name their roles.
        } catch (Throwable $e) {
            error_log('pgentra: no token was fetched before the workers start: ' . $e->getMessage());
        }
    }
    spl_autoload_unregister($autoload);
})();
