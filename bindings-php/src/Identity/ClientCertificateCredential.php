<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A service principal with a certificate: a PEM file with the key, or a PFX file, or the content of one. */
final class ClientCertificateCredential extends Credential
{
    /**
     * @param string|null $certificate the content of a file
     * @param mixed ...$options further named arguments, see Credential
     */
    public function __construct(
        string $tenantId,
        string $clientId,
        ?string $certificatePath = null,
        #[\SensitiveParameter] ?string $certificate = null,
        #[\SensitiveParameter] ?string $certificatePassword = null,
        ?bool $sendCertificateChain = null,
        mixed ...$options,
    ) {
        parent::__construct('client_certificate', [
            'tenantId' => $tenantId,
            'clientId' => $clientId,
            'certificatePath' => $certificatePath,
            'certificate' => self::certificate($certificate),
            'certificatePassword' => $certificatePassword,
            'sendCertificateChain' => $sendCertificateChain,
        ], $options);
    }
}
