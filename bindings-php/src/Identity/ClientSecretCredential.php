<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A service principal with a client secret. */
final class ClientSecretCredential extends Credential
{
    /**
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        string $tenantId,
        string $clientId,
        #[\SensitiveParameter] string $clientSecret,
        mixed ...$options,
    ) {
        parent::__construct('client_secret', [
            'tenantId' => $tenantId,
            'clientId' => $clientId,
            'clientSecret' => $clientSecret,
        ], $options);
    }
}
