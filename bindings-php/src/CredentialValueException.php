<?php

declare(strict_types=1);

namespace PgEntra;

/** A credential or an option is not valid. */
class CredentialValueException extends EntraException
{
}
