<?php

declare(strict_types=1);

namespace PgEntra\Internal;

/**
 * What objects with a secret have in common: the secret is kept in a closure, which dumps, exports and array casts do not show,
 * and the object cannot be serialized.
 *
 * @internal
 */
trait Redacted
{
    /** @return never */
    public function __serialize(): array
    {
        throw new \LogicException(static::class . ' contains a secret and cannot be serialized.');
    }

    /** @return never */
    private function missing(string $name)
    {
        throw new \LogicException(static::class . " has no property \$$name.");
    }
}
