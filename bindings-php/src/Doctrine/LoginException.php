<?php

declare(strict_types=1);

namespace PgEntra\Doctrine;

use Doctrine\DBAL\Driver\AbstractException;
use Doctrine\DBAL\Driver\Exception as DriverException;

/** The server rejected a login. The principal, the role and what to do follow its message. */
final class LoginException extends AbstractException
{
    public function __construct(\Throwable $rejected, string $explanation)
    {
        parent::__construct(
            $rejected->getMessage() . "\n" . $explanation,
            $rejected instanceof DriverException ? $rejected->getSQLState() : null,
            (int) $rejected->getCode(),
            $rejected,
        );
    }
}
