<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** The account of the Azure CLI (az login). */
final class AzureCliCredential extends Credential
{
    /**
     * @param float|null $processTimeout the time limit of each developer tool in seconds. null: 10
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        ?string $tenantId = null,
        ?string $subscription = null,
        ?float $processTimeout = null,
        mixed ...$options,
    ) {
        parent::__construct('azure_cli', [
            'tenantId' => $tenantId,
            'subscription' => $subscription,
            'processTimeout' => $processTimeout,
        ], $options);
    }
}
