<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\Redacted;

/**
 * A token and its times. Its dumps and traces do not contain the token.
 *
 * @property-read string $token the token
 */
final class AccessToken
{
    use Redacted;

    /**
     * @param string $token the token
     * @param int|null $expiresOn its expiry in seconds since 1970. null: that of the token's `exp` claim
     * @param int|null $refreshOn when to request the next one, in seconds since 1970. null: chosen by the library
     */
    public function __construct(
        #[\SensitiveParameter] string $token,
        public readonly ?int $expiresOn = null,
        public readonly ?int $refreshOn = null,
    ) {
        $this->keep($token);
    }

    /** @return mixed */
    public function __get(string $name)
    {
        return $name === 'token' ? $this->secret() : $this->missing($name);
    }

    public function __isset(string $name): bool
    {
        return $name === 'token';
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['token' => '[redacted]', 'expiresOn' => $this->expiresOn, 'refreshOn' => $this->refreshOn];
    }
}
