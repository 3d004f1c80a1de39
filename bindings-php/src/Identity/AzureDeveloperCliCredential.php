<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** The account of the Azure Developer CLI (azd auth login). */
final class AzureDeveloperCliCredential extends Credential
{
    /**
     * @param float|null $processTimeout the time limit of each developer tool in seconds. null: 10
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        ?string $tenantId = null,
        ?float $processTimeout = null,
        mixed ...$options,
    ) {
        parent::__construct('azure_developer_cli', [
            'tenantId' => $tenantId,
            'processTimeout' => $processTimeout,
        ], $options);
    }
}
