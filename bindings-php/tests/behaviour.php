<?php

declare(strict_types=1);

use PgEntra\AccessToken;
use PgEntra\EntraException;
use PgEntra\Identity\CustomCredential;
use PgEntra\TokenProvider;

/** What the tests of test_behaviour.py run in PHP, by name. */
return static function (array $request): mixed {
    $cases = [
        'persistent' => static fn () => PgEntra\Pdo::connect('pgsql:host=x', options: [\PDO::ATTR_PERSISTENT => true]),
        'persistent in doctrine' => static function (): void {
            require_once 'Doctrine/DBAL/autoload.php';
            $configuration = new Doctrine\DBAL\Configuration();
            $configuration->setMiddlewares([new PgEntra\Doctrine\EntraMiddleware()]);
            Doctrine\DBAL\DriverManager::getConnection(
                ['driver' => 'pdo_pgsql', 'host' => 'x', 'persistent' => true],
                $configuration,
            )->connect();
        },
        'other dsn' => static fn () => PgEntra\Pdo::connect('mysql:host=x'),
        'async' => static fn () => PgEntra\Pgsql::connect('host=x', PGSQL_CONNECT_ASYNC),
        'unknown option' => static fn () => PgEntra\Pdo::connect('pgsql:host=x', entra: ['credentials' => 1]),
        'connection option' => static fn () => new TokenProvider(['require_entra' => true]),
        'credential of another type' => static fn () => new TokenProvider(['credential' => 5]),
        'recursion' => static function () use (&$provider): void {
            $provider = new TokenProvider(['credential' => static function () use (&$provider): AccessToken {
                return $provider->token(5);
            }]);
            $provider->token(5);
        },
        'bad value' => static fn () => (new TokenProvider(['credential' => static fn () => 5]))->token(5),
        'invalidate' => static function () use ($request): array {
            $calls = 0;
            $provider = new TokenProvider(['credential' => new CustomCredential(
                static function () use (&$calls, $request): AccessToken {
                    return new AccessToken($request['tokens'][min($calls++, 1)], time() + 9);
                },
                'Counting',
            )]);
            $first = $provider->login();
            usleep(1_000_000);
            $newer = $provider->invalidate($first->password);
            return [$newer, $provider->login()->password === $request['tokens'][1], $calls];
        },
        'refresh' => static function () use ($request): array {
            $calls = 0;
            $provider = new TokenProvider(['credential' => static function () use (&$calls, $request): AccessToken {
                return new AccessToken($request['tokens'][min($calls++, 1)], time() + 8);
            }]);
            $provider->login();
            $beforeRefresh = $provider->login() && $calls === 1;
            sleep(5);
            // This login starts the refresh. It may still return the first token, which is good for three more seconds.
            $provider->login();
            for ($tries = 0; $tries < 100 && $provider->login()->password !== $request['tokens'][1]; $tries++) {
                usleep(10_000);
            }
            return [$beforeRefresh, $provider->login()->password === $request['tokens'][1], $calls];
        },
        'background' => static fn () => new TokenProvider(['mode' => 'background', 'credential' => static fn () => 'x']),
        'log' => static function (): array {
            require_once 'Psr/Log/autoload.php';
            $logger = new class () extends Psr\Log\AbstractLogger {
                public array $lines = [];

                public function log($level, $message, array $context = []): void
                {
                    $this->lines[] = [$level, (string) $message, $context];
                }
            };
            PgEntra\Logging::setLogger($logger, 'debug');
            $token = 'e30.' . rtrim(base64_encode('{"upn":"alice","exp":4000000000}'), '=') . '.canary';
            (new TokenProvider(['credential' => ['type' => 'static_token', 'token' => $token], 'environment' => []]))->login();
            try {
                (new TokenProvider(['credential' => ['type' => 'environment'], 'environment' => []]))->login();
            } catch (EntraException) {
                // Its event is what counts.
            }
            for ($tries = 0; $tries < 500 && count($logger->lines) < 3; $tries++) {
                usleep(10_000);
                PgEntra\Logging::pass();
            }
            PgEntra\Logging::setLogger(null);
            return $logger->lines;
        },
        'stats' => static function (): array {
            $token = 'e30.' . rtrim(base64_encode('{"upn":"alice","exp":4000000000}'), '=') . '.x';
            $provider = new TokenProvider(['credential' => ['type' => 'static_token', 'token' => $token], 'environment' => []]);
            $provider->login();
            return $provider->stats();
        },
        'fork' => static function (): array {
            $token = 'e30.' . rtrim(base64_encode('{"upn":"alice","exp":4000000000}'), '=') . '.x';
            $provider = new TokenProvider(['credential' => ['type' => 'static_token', 'token' => $token], 'environment' => []]);
            $provider->login();
            $roles = [];
            for ($child = 0; $child < 4; $child++) {
                $pid = pcntl_fork();
                if ($pid === 0) {
                    exit($provider->login()->user === 'alice' ? 0 : 1);
                }
                pcntl_waitpid($pid, $status);
                $roles[] = pcntl_wexitstatus($status);
            }
            return $roles;
        },
        'clone' => static fn () => clone new TokenProvider(['environment' => []]),
    ];
    return $cases[$request['case']]();
};
