<?php

declare(strict_types=1);

namespace PgEntra\Internal;

use PgEntra\Identity\Credential;
use PgEntra\Login;
use PgEntra\Logging;
use PgEntra\TokenProvider;

/**
 * One connection: what the library planned for it, the login, one more attempt with a newer token, and the explanation of a
 * login error.
 *
 * @internal
 */
final class LoginAttempt
{
    /** Whether a token is the password. */
    public readonly bool $usesEntra;

    /** @var array<array-key, mixed> */
    public readonly array $plan;

    private readonly ?TokenProvider $provider;

    private readonly ?float $timeout;

    private readonly bool $usesConnector;

    private ?Login $login = null;

    /**
     * @param array<string, mixed> $settings the request's `arguments`, `text` and `form`
     * @param array<string, mixed> $options the options of the connection and of the provider
     * @throws \PgEntra\EntraException
     */
    public function __construct(#[\SensitiveParameter] array $settings, #[\SensitiveParameter] array $options)
    {
        $read = new Options($options);
        $environment = $read->provider['environment'] ?? null;
        $config = $read->provider;
        if ($environment !== null) {
            $environment = (object) $environment;
            $config['environment'] = $environment;
        }
        if (isset($settings['arguments'])) {
            $settings['arguments'] = (object) $settings['arguments'];
        }
        $request = [
            ...$settings,
            ...$read->connection,
            'conninfo' => true,
            'config' => (object) $config,
            'has_credential' => $read->credential !== null,
        ];
        if ($environment !== null) {
            $request['environment'] = $environment;
        }
        $this->plan = Library::document('pgentra_connection_plan', Library::encode($request));
        foreach ($this->plan['warnings'] as $warning) {
            Logging::warn($warning);
        }
        $this->usesEntra = (bool) $this->plan['uses_entra'];
        $this->timeout = isset($this->plan['timeout']) && $this->plan['timeout'] > 0 ? (float) $this->plan['timeout'] : null;
        $this->usesConnector = (bool) ($read->connection['service_connector'] ?? false);
        $this->provider = $this->usesEntra ? self::open($this->plan['config'], $read->credential) : null;
    }

    /** @param array<string, mixed> $config */
    private static function open(#[\SensitiveParameter] array $config, ?Credential $credential): TokenProvider
    {
        return TokenProvider::withDocument($config, $credential);
    }

    /** Returns the complete connection string without a password, unless the plan uses the connection's own. */
    public function conninfo(): string
    {
        return (string) $this->plan['conninfo'];
    }

    /**
     * Opens the connection, and once more with a newer token if the server rejects the first.
     *
     * @template T
     * @param \Closure(?string, ?string): T $open takes the user and the password, or null if they are in the settings
     * @param \Closure(\Throwable): ?string $messageOf returns the server's message of an error of the driver
     * @param \Closure(\Throwable, string): \Throwable $explained returns the error with the explanation
     * @return T
     */
    public function connect(
        #[\SensitiveParameter] \Closure $open,
        \Closure $messageOf,
        \Closure $explained,
    ): mixed {
        if ($this->provider === null) {
            return $open(null, null);
        }
        $this->login = $this->provider->login($this->timeout);
        try {
            return $open($this->login->user, $this->login->password);
        } catch (\Throwable $rejected) {
            $message = $messageOf($rejected);
            if ($message === null) {
                throw $rejected;
            }
        }
        $library = Library::load();
        if (
            $library->pgentra_login_error_is_retriable(null, $message)
            && $this->provider->invalidate($this->login->password, $this->timeout)
        ) {
            $this->login = $this->provider->login($this->timeout);
            try {
                return $open($this->login->user, $this->login->password);
            } catch (\Throwable $again) {
                $rejected = $again;
                $message = $messageOf($again) ?? '';
            }
        }
        Logging::pass();
        $explanation = $this->explain($message);
        throw $explanation === '' ? $rejected : $explained($rejected, $explanation);
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['usesEntra' => $this->usesEntra];
    }

    /** Returns what to add to the server's message, or an empty text if it is not a login error. */
    private function explain(string $message): string
    {
        return (string) Library::text(
            'pgentra_login_error_explain',
            null,
            $message,
            $this->login?->user,
            $this->plan['user_source'] ?? $this->login?->source,
            $this->login?->password,
            $this->usesConnector ? null : $this->plan['host'] ?? null,
            isset($this->plan['config']['environment']) ? Library::encode((array) $this->plan['config']['environment']) : null,
        );
    }
}
