<?php

declare(strict_types=1);

namespace PgEntra;

/** A token for the management scope was refused, so the role name could not be determined. */
class ScopePermissionException extends EntraException
{
}
