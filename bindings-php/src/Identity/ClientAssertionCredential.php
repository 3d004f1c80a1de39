<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A service principal with an assertion that a function returns, or another credential. */
final class ClientAssertionCredential extends Credential
{
    /**
     * @param (callable(): string)|Credential $getAssertion the assertion, or a credential whose token it is
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        string $tenantId,
        string $clientId,
        callable|Credential $getAssertion,
        mixed ...$options,
    ) {
        parent::__construct('client_assertion', [
            'tenantId' => $tenantId,
            'clientId' => $clientId,
            'getAssertion' => self::assertion($getAssertion),
        ], $options);
    }
}
