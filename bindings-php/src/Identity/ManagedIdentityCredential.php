<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A managed identity: the system-assigned one, or a user-assigned one by one of its ids. */
final class ManagedIdentityCredential extends Credential
{
    /**
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        ?string $clientId = null,
        ?string $objectId = null,
        ?string $resourceId = null,
        mixed ...$options,
    ) {
        parent::__construct('managed_identity', [
            'clientId' => $clientId,
            'objectId' => $objectId,
            'resourceId' => $resourceId,
        ], $options);
    }
}
