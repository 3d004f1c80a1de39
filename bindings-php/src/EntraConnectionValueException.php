<?php

declare(strict_types=1);

namespace PgEntra;

/** The settings of a connection contradict each other or the options, or would send a token without TLS. */
class EntraConnectionValueException extends EntraException
{
}
