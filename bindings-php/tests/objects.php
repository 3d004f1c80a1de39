<?php

declare(strict_types=1);

/** Returns everything that PHP can show of the objects and errors with secrets. */
return static function (array $request): array {
    $token = 'e30.' . base64_encode('{"upn":"alice","exp":4000000000}') . '.canary';
    $credentials = [
        'secret' => new PgEntra\Identity\ClientSecretCredential('tenant', 'client', 'canary-secret'),
        'certificate' => new PgEntra\Identity\ClientCertificateCredential('t', 'c', certificate: 'canary', certificatePassword: 'canary'),
        'behalf' => new PgEntra\Identity\OnBehalfOfCredential('t', 'c', 'canary-assertion', clientSecret: 'canary-secret'),
        'static' => new PgEntra\Identity\StaticTokenCredential($token),
        'pipelines' => new PgEntra\Identity\AzurePipelinesCredential('t', 'c', 's', 'canary-token'),
    ];
    $provider = new PgEntra\TokenProvider(['credential' => $credentials['static'], 'environment' => []]);
    $objects = [
        ...$credentials,
        'provider' => $provider,
        'login' => $provider->login(),
        'token' => $provider->token(),
        'chain' => new PgEntra\Identity\ChainedTokenCredential($credentials['secret'], $credentials['static']),
        'middleware' => class_exists(Doctrine\DBAL\Driver\Middleware::class, false)
            ? new PgEntra\Doctrine\EntraMiddleware(['credential' => $credentials['secret']]) : new stdClass(),
    ];
    $shown = [];
    foreach ($objects as $name => $object) {
        ob_start();
        var_dump($object);
        $shown[] = ob_get_clean();
        $shown[] = print_r($object, true);
        $shown[] = (string) json_encode($object);
        try {
            $shown[] = var_export($object, true);
        } catch (Throwable $e) {
            $shown[] = $e->getMessage();
        }
        foreach ([static fn () => serialize($object), static fn () => (array) $object] as $convert) {
            try {
                $shown[] = print_r($convert(), true);
            } catch (Throwable $e) {
                $shown[] = $e->getMessage();
            }
        }
    }
    // Errors, and the arguments in their traces.
    ini_set('zend.exception_ignore_args', '0');
    ini_set('zend.exception_string_param_max_len', '100000');
    $fails = [
        static fn () => new PgEntra\TokenProvider(['credential' => ['type' => 'client_secret', 'client_secret' => 'canary'], 'x' => 1]),
        static fn () => PgEntra\Pdo::connect('pgsql:host=0.0.0.0;password=canary;sslmode=bad', 'u', 'canary'),
        static fn () => PgEntra\Pgsql::connect('host=127.0.0.1 port=1 user=u password=canary'),
        static fn () => PgEntra\Pdo::connect('pgsql:host=127.0.0.1;port=1', entra: ['credential' => $credentials['static']]),
        static fn () => PgEntra\Jwt::decode('canary'),
    ];
    foreach ($fails as $fail) {
        try {
            $fail();
            $shown[] = 'no error';
        } catch (Throwable $e) {
            for (; $e !== null; $e = $e->getPrevious()) {
                $shown[] = $e->getMessage() . "\n" . $e->getTraceAsString() . "\n" . print_r($e->getTrace(), true);
            }
        }
    }
    return $shown;
};
