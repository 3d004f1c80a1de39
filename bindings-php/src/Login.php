<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\Redacted;

/**
 * A role and its password, which is a token. Dumps and traces do not contain the password.
 *
 * @property-read string $password the token
 */
final class Login
{
    use Redacted;

    /**
     * @internal
     * @param string $source where the name comes from: "user", "PGUSER", a claim, "management token", "fallback_username"
     * @param int $expiresOn the token's expiry in seconds since 1970
     */
    public function __construct(
        public readonly string $user,
        #[\SensitiveParameter] string $password,
        public readonly string $source,
        public readonly int $expiresOn,
    ) {
        $this->keep($password);
    }

    /** @return mixed */
    public function __get(string $name)
    {
        return $name === 'password' ? $this->secret() : $this->missing($name);
    }

    public function __isset(string $name): bool
    {
        return $name === 'password';
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['user' => $this->user, 'password' => '[redacted]', 'source' => $this->source, 'expiresOn' => $this->expiresOn];
    }
}
