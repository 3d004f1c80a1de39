<?php

declare(strict_types=1);

namespace PgEntra\Laravel;

use Illuminate\Database\Connectors\PostgresConnector;
use PgEntra\Pdo;

/**
 * Laravel's connector for PostgreSQL, which logs in with an Entra identity if the connection has the key 'entra'. It is called for
 * each new connection, so that reconnects of queue workers and Octane use a current token.
 */
class EntraConnector extends PostgresConnector
{
    /** @var array<string, mixed>|null the options of the connection that is being opened */
    private ?array $entra = null;

    /**
     * @param string $dsn
     * @param array<string, mixed> $config
     * @param array<int, mixed> $options
     * @return \PDO
     */
    public function createConnection($dsn, #[\SensitiveParameter] array $config, array $options)
    {
        $entra = $config['entra'] ?? false;
        $outer = $this->entra;
        $this->entra = is_array($entra) ? $entra : ($entra ? [] : null);
        try {
            return parent::createConnection($dsn, $config, $options);
        } finally {
            $this->entra = $outer;
        }
    }

    /**
     * @param string $dsn
     * @param string|null $username
     * @param string|null $password
     * @param array<int, mixed> $options
     * @return \PDO
     */
    protected function createPdoConnection($dsn, $username, #[\SensitiveParameter] $password, $options)
    {
        if ($this->entra === null) {
            return parent::createPdoConnection($dsn, $username, $password, $options);
        }
        // Laravel writes an empty name if the configuration has none.
        $dsn = str_replace("dbname=''", '', $dsn);
        return Pdo::connect($dsn, $username, $password, $options, $this->entra);
    }
}
