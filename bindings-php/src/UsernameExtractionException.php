<?php

declare(strict_types=1);

namespace PgEntra;

/** The token contains no role name. */
class UsernameExtractionException extends EntraException
{
}
