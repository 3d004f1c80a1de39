<?php

declare(strict_types=1);

namespace PgEntra;

use FFI;
use FFI\CData;
use PgEntra\Internal\CustomQueue;
use PgEntra\Internal\Library;
use PgEntra\Internal\Options;
use PgEntra\Internal\Wait;

/**
 * Provides logins and tokens for any driver. Call login() for each new connection: it returns the cached token.
 *
 *     $provider = new PgEntra\TokenProvider(['host' => 'shop.postgres.database.azure.com']);
 *     $login = $provider->login();
 *     // connect as $login->user with $login->password, over TLS
 *
 * The library keeps tokens for the life of the process: a provider that a later request of a PHP-FPM worker creates with equal
 * options returns the same token.
 */
final class TokenProvider
{
    private const INVALIDATE_LIMIT_S = 30.0;

    private const PART_MS = 10;

    private readonly CData $handle;

    /** @var list<CustomQueue> */
    private readonly array $queues;

    /** The cached login, whose id the library compares. */
    private ?Login $login = null;

    private readonly CData $id;

    /** @var list<CData> */
    private readonly array $outputs;

    /** @var list<CData> */
    private readonly array $pointers;

    private readonly FFI $library;

    /**
     * @param array{
     *     host?: string|null, user?: string|null, credential?: Identity\Credential|TokenCredential|callable|null,
     *     scope?: string|null, timeout?: float|null, fallback_username?: string|null, management_lookup?: bool|null,
     *     mode?: 'background'|'lazy'|'ahead'|null, ca_file?: string|null, cache?: bool|null,
     *     environment?: array<string, string>|null
     * } $options docs/php.md describes them. `timeout` is in seconds
     * @throws EntraException an option is not valid; nothing is fetched yet
     */
    public function __construct(#[\SensitiveParameter] array $options = [])
    {
        $read = new Options($options);
        foreach ($read->connection as $name => $_) {
            throw Library::newError(
                Library::INVALID_CONFIGURATION,
                "the option $name belongs to a connection",
                'Pass it to PgEntra\Pdo::connect() or PgEntra\Pgsql::connect().',
            );
        }
        $this->open($read->provider, $read->credential);
    }

    /**
     * @internal
     * @param array<string, mixed> $config
     */
    public static function withDocument(#[\SensitiveParameter] array $config, ?Identity\Credential $credential): self
    {
        $provider = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
        $provider->open($config, $credential);
        return $provider;
    }

    /** @param array<string, mixed> $config */
    private function open(#[\SensitiveParameter] array $config, ?Identity\Credential $credential): void
    {
        $this->library = $library = Library::load();
        if (isset($config['environment'])) {
            $config['environment'] = (object) $config['environment'];
        }
        $handle = $library->new('pgentra_provider *');
        $error = $library->new('pgentra_error *');
        $outputs = [FFI::addr($handle), FFI::addr($error)];
        if ($credential !== null && $credential->queues() !== []) {
            // PHP serves a credential only during its own calls, so that a refresh in the background would never get a response.
            $config['mode'] ??= 'lazy';
            if ($config['mode'] !== 'lazy') {
                throw Library::newError(
                    Library::INVALID_CONFIGURATION,
                    'option `mode`: a credential of the application allows only "lazy" in PHP',
                    'Leave the option out.',
                );
            }
            $opened = $credential->open($config['environment'] ?? null);
            $status = $library->pgentra_provider_open_with(Library::encode($config), $opened, ...$outputs);
        } else {
            if ($credential !== null) {
                $config['credential'] = $credential->document();
            }
            $status = $library->pgentra_provider_open(Library::encode($config), ...$outputs);
        }
        if ($status !== 0) {
            throw Library::error($error);
        }
        $this->handle = $handle;
        $this->queues = $credential?->queues() ?? [];
        $this->id = $library->new('uint64_t');
        $this->outputs = [
            $library->new('const char *'), $library->new('const char *'), $library->new('const char *'),
            $library->new('int64_t'), $library->new('pgentra_error *'),
        ];
        $pointers = [];
        // With ffi.enable=preload, PHP rejects calls of FFI through array_map().
        foreach ([$this->id, ...$this->outputs] as $output) {
            $pointers[] = FFI::addr($output);
        }
        $this->pointers = $pointers;
    }

    public function __destruct()
    {
        if (isset($this->handle)) {
            $this->library->pgentra_provider_close($this->handle);
        }
    }

    /**
     * Returns the role and the password for a new connection. Without a cached token, it waits for one.
     *
     * @param float|null $timeout the longest wait in seconds. null: the option `timeout`, 30 by default
     * @throws EntraException
     */
    public function login(?float $timeout = null): Login
    {
        // A cached login costs one call without a copy.
        $status = $this->library->pgentra_provider_try_login($this->handle, ...$this->pointers);
        if ($status === 0 && $this->id->cdata !== 0) {
            Wait::serve($this->queues, 0);
            return $this->login = $this->read() ?? $this->login ?? throw new \LogicException('no login');
        }
        if ($status !== 0) {
            throw Library::error($this->outputs[4]);
        }
        [, $user, $password, $source, $expiresOn] = $this->pointers;
        Wait::for($this->queues, Wait::milliseconds($timeout), fn (int $limitMs, CData $error): int => $this->library
            ->pgentra_provider_login($this->handle, $limitMs, $user, $password, $source, $expiresOn, $error));
        $this->login = null;
        return $this->read() ?? throw new \LogicException('no login');
    }

    /** Returns the login of the outputs, or null if they contain none. */
    private function read(): ?Login
    {
        [$user, $password, $source, $expiresOn] = $this->outputs;
        if (FFI::isNull($user)) {
            return null;
        }
        return new Login(
            (string) Library::take($user),
            (string) Library::take($password),
            FFI::string($source),
            $expiresOn->cdata,
        );
    }

    /**
     * Returns a token, which is the password for PostgreSQL. Without a cached token, it waits for one.
     *
     * @param float|null $timeout as for login()
     * @throws EntraException
     */
    public function token(?float $timeout = null): AccessToken
    {
        $token = $this->library->new('const char *');
        $expiresOn = $this->library->new('int64_t');
        $outputs = [FFI::addr($token), FFI::addr($expiresOn)];
        Wait::for($this->queues, Wait::milliseconds($timeout), fn (int $limitMs, CData $error): int => $this->library
            ->pgentra_provider_get($this->handle, $limitMs, ...[...$outputs, $error]));
        return new AccessToken((string) Library::take($token), $expiresOn->cdata);
    }

    /**
     * Reports that the server rejected a login with this token. Returns whether login() now has a newer one, with which the
     * login may be tried once more. Waits for it, at most the limit.
     *
     * @param string|null $rejected the token. null: the current one
     * @param float|null $timeout as for login()
     * @throws EntraException
     */
    public function invalidate(#[\SensitiveParameter] ?string $rejected = null, ?float $timeout = null): bool
    {
        $newer = $this->library->new('const char *');
        $output = FFI::addr($newer);
        if ($this->queues === []) {
            Wait::for([], Wait::milliseconds($timeout), fn (int $limitMs, CData $error): int => $this->library
                ->pgentra_provider_invalidate($this->handle, $rejected, $limitMs, $output, $error));
            return Library::take($newer) !== null;
        }
        // The library's wait would serve no custom credential, so that it is divided into parts.
        $rejected ??= $this->login?->password;
        $deadline = hrtime(true) + (int) (($timeout ?? self::INVALIDATE_LIMIT_S) * 1e9);
        do {
            $began = hrtime(true);
            $this->library->pgentra_provider_invalidate($this->handle, $rejected, self::PART_MS, $output, null);
            if (Library::take($newer) !== null) {
                return true;
            }
            // It returns early if no newer token is being fetched.
            if (hrtime(true) - $began < self::PART_MS * 1_000_000) {
                return false;
            }
            Wait::serve($this->queues, 0);
        } while (hrtime(true) < $deadline);
        return false;
    }

    /**
     * Returns the provider's statistics: credential, scope, role, expires_in, refresh_due_in (seconds), counters and others.
     *
     * @return array<array-key, mixed>
     */
    public function stats(): array
    {
        return Library::document('pgentra_provider_stats', $this->handle);
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        $stats = $this->stats();
        return ['credential' => $stats['credential'] ?? null, 'scope' => $stats['scope'] ?? null];
    }

    /** @return never */
    public function __serialize(): array
    {
        throw new \LogicException('A TokenProvider cannot be serialized: create it where it is used.');
    }

    /** @return never */
    public function __clone()
    {
        throw new \LogicException('A TokenProvider cannot be cloned.');
    }
}
