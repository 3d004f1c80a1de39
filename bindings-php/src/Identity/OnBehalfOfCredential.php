<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** An application that acts on behalf of a user. */
final class OnBehalfOfCredential extends Credential
{
    /**
     * @param string|null $certificate the content of a file
     * @param (callable(): string)|Credential|null $getAssertion the assertion, or a credential whose token it is
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        string $tenantId,
        string $clientId,
        #[\SensitiveParameter] string $userAssertionToken,
        #[\SensitiveParameter] ?string $clientSecret = null,
        ?string $certificatePath = null,
        #[\SensitiveParameter] ?string $certificate = null,
        #[\SensitiveParameter] ?string $certificatePassword = null,
        ?bool $sendCertificateChain = null,
        callable|Credential|null $getAssertion = null,
        mixed ...$options,
    ) {
        parent::__construct('on_behalf_of', [
            'tenantId' => $tenantId,
            'clientId' => $clientId,
            'userAssertionToken' => $userAssertionToken,
            'clientSecret' => $clientSecret,
            'certificatePath' => $certificatePath,
            'certificate' => self::certificate($certificate),
            'certificatePassword' => $certificatePassword,
            'sendCertificateChain' => $sendCertificateChain,
            'getAssertion' => self::assertion($getAssertion),
        ], $options);
    }
}
