<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A workload identity with a federated token in a file (Kubernetes). */
final class WorkloadIdentityCredential extends Credential
{
    /**
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        ?string $tenantId = null,
        ?string $clientId = null,
        ?string $tokenFilePath = null,
        ?bool $enableAzureProxy = null,
        mixed ...$options,
    ) {
        parent::__construct('workload_identity', [
            'tenantId' => $tenantId,
            'clientId' => $clientId,
            'tokenFilePath' => $tokenFilePath,
            'enableAzureProxy' => $enableAzureProxy,
        ], $options);
    }
}
