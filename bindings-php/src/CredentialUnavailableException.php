<?php

declare(strict_types=1);

namespace PgEntra;

/**
 * The credential is not set up on this machine. A custom credential that throws it, made by unavailable(), lets a chain continue
 * with its next member.
 */
class CredentialUnavailableException extends EntraException
{
    /** Creates the exception for a custom credential. */
    public static function unavailable(string $message): EntraException
    {
        return self::create($message, ['error_class' => 'CredentialUnavailableError', 'code' => 'credential_unavailable']);
    }
}
