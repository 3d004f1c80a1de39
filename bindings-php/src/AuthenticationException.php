<?php

declare(strict_types=1);

namespace PgEntra;

/** No token could be fetched: errorCode() names the cause. */
class AuthenticationException extends EntraException
{
}
