<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** The default chain: environment, workload identity, managed identity, developer tools. */
final class DefaultAzureCredential extends Credential
{
    /**
     * @param list<string>|null $exclude class names to leave out
     * @param list<string>|null $include class names to use even if AZURE_TOKEN_CREDENTIALS leaves them out
     * @param list<string>|null $requiredEnvVars variables that must be set
     * @param float|null $processTimeout the time limit of each developer tool in seconds. null: 10
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        ?string $managedIdentityClientId = null,
        ?string $managedIdentityResourceId = null,
        ?string $workloadIdentityClientId = null,
        ?string $tenantId = null,
        ?array $exclude = null,
        ?array $include = null,
        ?array $requiredEnvVars = null,
        ?float $processTimeout = null,
        mixed ...$options,
    ) {
        parent::__construct('default', [
            'managedIdentityClientId' => $managedIdentityClientId,
            'managedIdentityResourceId' => $managedIdentityResourceId,
            'workloadIdentityClientId' => $workloadIdentityClientId,
            'tenantId' => $tenantId,
            'exclude' => $exclude,
            'include' => $include,
            'requiredEnvVars' => $requiredEnvVars,
            'processTimeout' => $processTimeout,
        ], $options);
    }
}
