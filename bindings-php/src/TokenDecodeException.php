<?php

declare(strict_types=1);

namespace PgEntra;

/** The token is not a readable JWT. */
class TokenDecodeException extends EntraException
{
}
