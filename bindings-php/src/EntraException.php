<?php

declare(strict_types=1);

namespace PgEntra;

/**
 * An error of pgentra. The message says what failed, for which credential, what the service returned and what to do. It contains
 * no token, secret or response body.
 */
class EntraException extends \RuntimeException
{
    /** @param array<array-key, mixed> $detail */
    final private function __construct(string $message, int $number, private readonly array $detail, ?\Throwable $previous)
    {
        parent::__construct($message, $number, $previous);
    }

    /**
     * @internal
     * @param array<array-key, mixed> $detail
     */
    public static function create(string $message, array $detail, ?\Throwable $previous = null): self
    {
        $name = preg_replace('/Error$/', 'Exception', (string) ($detail['error_class'] ?? ''));
        $class = __NAMESPACE__ . '\\' . $name;
        if (!is_subclass_of($class, self::class)) {
            $class = self::class;
        }
        return new $class($message, (int) ($detail['kind'] ?? 0), $detail, $previous);
    }

    /** Returns the name of the kind of error, such as "credential_unavailable" (docs/errors.md). getCode() is its number. */
    public function errorCode(): string
    {
        return (string) ($this->detail['code'] ?? 'internal');
    }

    /** Returns the number behind AADSTS, or null if Entra returned none. */
    public function aadsts(): ?int
    {
        return isset($this->detail['aadsts']) ? (int) $this->detail['aadsts'] : null;
    }

    /** Returns whether the same call may succeed later although nothing was changed. */
    public function isTransient(): bool
    {
        return (bool) ($this->detail['transient'] ?? false);
    }

    /**
     * Returns the error as data. docs/errors.md lists the keys.
     *
     * @return array<array-key, mixed>
     */
    public function detail(): array
    {
        return $this->detail;
    }

    /** Returns the first error of pgentra in an exception and its previous ones, or null. */
    public static function find(\Throwable $exception): ?self
    {
        for ($depth = 0; $exception !== null && $depth < 100; $depth++, $exception = $exception->getPrevious()) {
            if ($exception instanceof self) {
                return $exception;
            }
        }
        return null;
    }
}
