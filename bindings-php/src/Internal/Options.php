<?php

declare(strict_types=1);

namespace PgEntra\Internal;

use PgEntra\Identity\Credential;

/**
 * The options of an entry point, divided into those of the connection, those of the provider, and the credential.
 *
 * @internal
 */
final class Options
{
    /** The options that decide how a connection logs in. docs/config.schema.json describes the others. */
    private const OF_CONNECTION = [
        'service_connector' => true,
        'require_entra' => true,
        'ignore_password' => true,
        'allow_insecure_transport' => true,
    ];

    /** @var array<string, mixed> */
    public readonly array $connection;

    /** @var array<string, mixed> */
    public readonly array $provider;

    public readonly ?Credential $credential;

    /** @param array<string, mixed> $options */
    public function __construct(#[\SensitiveParameter] array $options)
    {
        $credential = $options['credential'] ?? null;
        unset($options['credential']);
        $this->credential = $credential === null ? null : Credential::of($credential);
        $options = array_filter($options, static fn (mixed $value): bool => $value !== null);
        $this->connection = array_intersect_key($options, self::OF_CONNECTION);
        $this->provider = array_diff_key($options, self::OF_CONNECTION);
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return [];
    }
}
