<?php

declare(strict_types=1);

namespace PgEntra\Internal;

/**
 * What objects with a secret have in common: the secret is not in a property, so that dumps, exports and array casts do not show
 * it, and the object cannot be serialized or cloned.
 *
 * @internal
 */
trait Redacted
{
    /** @var \WeakMap<self, mixed>|null */
    private static ?\WeakMap $secrets = null;

    private function keep(#[\SensitiveParameter] mixed $secret): void
    {
        self::$secrets ??= new \WeakMap();
        self::$secrets[$this] = $secret;
    }

    private function secret(): mixed
    {
        return self::$secrets[$this] ?? null;
    }

    /** @return never */
    public function __serialize(): array
    {
        throw new \LogicException(static::class . ' contains a secret and cannot be serialized.');
    }

    /** @return never */
    public function __clone()
    {
        throw new \LogicException(static::class . ' contains a secret and cannot be cloned.');
    }

    /** @return never */
    private function missing(string $name)
    {
        throw new \LogicException(static::class . " has no property \$$name.");
    }
}
