<?php

declare(strict_types=1);

namespace PgEntra\Identity;

use PgEntra\Internal\CustomQueue;

/** A credential of the application: a function that takes a PgEntra\TokenRequest and returns a PgEntra\AccessToken. */
final class CustomCredential extends Credential
{
    private readonly CustomQueue $queue;

    /**
     * @param callable(\PgEntra\TokenRequest): (\PgEntra\AccessToken|string) $getToken is called inside the calls that need a token
     * @param string $name for errors, logs and statistics
     */
    public function __construct(callable $getToken, string $name = 'custom credential')
    {
        parent::__construct('custom_credential', [], []);
        $this->queue = new CustomQueue($name, $getToken(...));
    }

    public function describe(array &$queues): array
    {
        $index = array_search($this->queue, $queues, true);
        if ($index === false) {
            $index = count($queues);
            $queues[] = $this->queue;
        }
        return ['type' => 'custom_credential', 'index' => $index];
    }
}
