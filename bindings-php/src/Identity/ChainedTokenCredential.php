<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** Credentials that are tried in order, until one is available. Later requests use only that one. */
final class ChainedTokenCredential extends Credential
{
    /** @param Credential|\PgEntra\TokenCredential|callable ...$credentials */
    public function __construct(mixed ...$credentials)
    {
        $members = array_map(self::of(...), array_values($credentials));
        parent::__construct('chained', ['credentials' => $members], []);
    }
}
