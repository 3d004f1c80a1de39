<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A given token. */
final class StaticTokenCredential extends Credential
{
    /**
     * @param int|null $expiresOn in seconds since 1970. null: the token's `exp` claim
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        #[\SensitiveParameter] string $token,
        ?int $expiresOn = null,
        mixed ...$options,
    ) {
        parent::__construct('static_token', [
            'token' => $token,
            'expiresOn' => $expiresOn,
        ], $options);
    }
}
