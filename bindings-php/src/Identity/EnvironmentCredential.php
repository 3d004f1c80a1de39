<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A service principal from AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH. */
final class EnvironmentCredential extends Credential
{
    /**
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        mixed ...$options,
    ) {
        parent::__construct('environment', [], $options);
    }
}
