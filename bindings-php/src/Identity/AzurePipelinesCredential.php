<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A service connection of Azure Pipelines. */
final class AzurePipelinesCredential extends Credential
{
    /**
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        string $tenantId,
        string $clientId,
        string $serviceConnectionId,
        #[\SensitiveParameter] string $systemAccessToken,
        ?string $organizationUrl = null,
        mixed ...$options,
    ) {
        parent::__construct('azure_pipelines', [
            'tenantId' => $tenantId,
            'clientId' => $clientId,
            'serviceConnectionId' => $serviceConnectionId,
            'systemAccessToken' => $systemAccessToken,
            'organizationUrl' => $organizationUrl,
        ], $options);
    }
}
