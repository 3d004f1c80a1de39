<?php

declare(strict_types=1);

/** Runs the calls of the tests: tests/support/language_program.py describes the lines. */

use PgEntra\AccessToken;
use PgEntra\CredentialUnavailableException;
use PgEntra\EntraException;
use PgEntra\Identity\ClientAssertionCredential;
use PgEntra\Identity\Credential;
use PgEntra\Identity\CustomCredential;
use PgEntra\Identity\DocumentCredential;
use PgEntra\Internal\Library;
use PgEntra\Jwt;
use PgEntra\Login;
use PgEntra\Pdo;
use PgEntra\Pgsql;
use PgEntra\TokenProvider;
use PgEntra\TokenRequest;

require __DIR__ . '/autoload.php';

if (getenv('PGENTRA_TESTING') === '1') {
    // The build of the library for tests has one more function.
    $declarations = Library::DECLARATIONS . 'int32_t pgentra_run_vector(const char *group, const char *case_, const char *directory,'
        . ' const char **outcome, struct pgentra_error **error);';
    (new ReflectionProperty(Library::class, 'library'))
        ->setValue(null, FFI::cdef($declarations, (string) getenv('PGENTRA_LIBRARY')));
}

/** Makes custom credentials of {"type": "custom_credential", "given": ...} in a document. */
function credential(mixed $document): mixed
{
    if (!is_array($document)) {
        return $document;
    }
    if (($document['type'] ?? null) === 'custom_credential') {
        $given = $document['given'];
        return new CustomCredential(static function (TokenRequest $request) use ($given): AccessToken {
            if (isset($given['run'])) {
                $given = json_decode((string) shell_exec($given['run']), true);
            }
            if (isset($given['unavailable'])) {
                throw CredentialUnavailableException::unavailable($given['unavailable']);
            }
            if (isset($given['fails'])) {
                throw new RuntimeException($given['fails']);
            }
            return new AccessToken($given['token'], $given['expires_on'] ?? null);
        }, $given['name'] ?? 'custom credential');
    }
    return new DocumentCredential(array_map(
        static fn (mixed $value): mixed => match (true) {
            is_array($value) && array_is_list($value) => array_map(
                static fn (mixed $member): mixed => is_array($member) ? credential($member) : $member,
                $value,
            ),
            is_array($value) && isset($value['type']) => credential($value),
            default => $value,
        },
        $document,
    ));
}

/** @return array<string, mixed> */
function options(array $options): array
{
    if (isset($options['credential'])) {
        $options['credential'] = credential($options['credential']);
    }
    return $options;
}

function login(Login $login): array
{
    return [
        'user' => $login->user, 'password' => $login->password, 'source' => $login->source, 'expires_on' => $login->expiresOn,
    ];
}

function scalar(\PDO $pdo, string $sql = 'select current_user'): mixed
{
    return $pdo->query($sql)->fetchColumn();
}

function request(mixed $request): mixed
{
    // Empty objects are lists in PHP.
    foreach (['arguments', 'variables', 'environment'] as $name) {
        if (isset($request[$name])) {
            $request[$name] = (object) $request[$name];
        }
    }
    if (isset($request['config'])) {
        $request['config'] = (object) $request['config'];
    }
    return Library::encode($request);
}

/** Each entry point: takes libpq's settings and options, returns the role. */
$connect = [
    'pg_connect' => static function (array $settings, array $entra): string {
        $connection = Pgsql::connect(conninfo($settings), PGSQL_CONNECT_FORCE_NEW, $entra);
        return pg_fetch_result(pg_query($connection, 'select current_user'), 0, 0);
    },
    'pdo' => static fn (array $settings, array $entra): string => scalar(Pdo::connect(
        'pgsql:' . conninfo(array_diff_key($settings, ['user' => 1, 'password' => 1]), ';'),
        $settings['user'] ?? null,
        $settings['password'] ?? null,
        [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION],
        $entra,
    )),
    'laravel' => static function (array $settings, array $entra): string {
        require_once 'Illuminate/Database/autoload.php';
        require_once 'Illuminate/Events/autoload.php';
        $capsule = new Illuminate\Database\Capsule\Manager();
        $capsule->getContainer()->bind('db.connector.pgsql', PgEntra\Laravel\EntraConnector::class);
        $capsule->addConnection(array_filter([
            'driver' => 'pgsql', 'host' => $settings['host'] ?? null, 'port' => $settings['port'] ?? null,
            'database' => $settings['dbname'] ?? null, 'username' => $settings['user'] ?? null,
            'password' => $settings['password'] ?? null, 'sslmode' => $settings['sslmode'] ?? null,
            'sslrootcert' => $settings['sslrootcert'] ?? null, 'charset' => 'utf8', 'entra' => $entra ?: true,
        ], static fn (mixed $value): bool => $value !== null));
        return $capsule->getConnection()->selectOne('select current_user as role')->role;
    },
    'doctrine (pdo)' => static fn (array $settings, array $entra): string => doctrine('pdo_pgsql', $settings, $entra),
    'doctrine (pgsql)' => static fn (array $settings, array $entra): string => doctrine('pgsql', $settings, $entra),
];

function doctrine(string $driver, array $settings, array $entra): string
{
    require_once 'Doctrine/DBAL/autoload.php';
    $configuration = new Doctrine\DBAL\Configuration();
    $configuration->setMiddlewares([new PgEntra\Doctrine\EntraMiddleware($entra)]);
    $connection = Doctrine\DBAL\DriverManager::getConnection(['driver' => $driver, ...$settings], $configuration);
    return (string) $connection->fetchOne('select current_user');
}

function conninfo(array $settings, string $separator = ' '): string
{
    $words = [];
    foreach ($settings as $name => $value) {
        $words[] = "$name='" . addcslashes((string) $value, "'\\") . "'";
    }
    return implode($separator, $words);
}

$calls = [
    'decode_jwt' => static fn (array $r): array => Jwt::decode($r['token']),
    'describe_token' => static fn (array $r): array => Jwt::describe($r['token']),
    'parse_principal_name' => static fn (array $r): ?string
        => Library::text('pgentra_parse_principal_name', $r['xms_mirid']),
    'resolve_cloud' => static fn (array $r): array => Library::document('pgentra_resolve_cloud', ...$r['arguments']),
    'login_error' => static fn (array $r): array => [
        'cause' => Library::load()->pgentra_login_error_cause($r['sqlstate'], $r['message']),
        'retry' => Library::load()->pgentra_login_error_is_retriable($r['sqlstate'], $r['message']),
    ],
    'login_error_explain' => static fn (array $r): ?string
        => Library::text('pgentra_login_error_explain', ...$r['arguments']),
    'connection_read' => static fn (array $r): array
        => Library::document('pgentra_connection_read', $r['text'], $r['form']),
    'connection_plan' => static fn (array $r): array
        => Library::document('pgentra_connection_plan', request($r['request'])),
    'run_vector' => static function (array $r): string {
        return (string) Library::text('pgentra_run_vector', $r['group'], $r['case'], $r['directory']);
    },
    'login' => static fn (array $r): array => login((new TokenProvider(options($r['options'])))->login($r['timeout'] ?? null)),
    'get_token' => static function (array $r): array {
        $credential = credential($r['credential']);
        if (isset($r['environment'])) {
            $credential->open((object) $r['environment']);
        }
        $wanted = $r['request'] ?? [];
        $token = $credential->getToken(new TokenRequest(
            $wanted['scope'],
            $wanted['tenant_id'] ?? null,
            $wanted['claims'] ?? null,
            $wanted['enable_cae'] ?? false,
        ));
        return ['token' => $token->token, 'expires_on' => $token->expiresOn];
    },
    'connect' => static fn (array $r): string => $connect[$r['entry']]($r['settings'], options($r['options'] ?? [])),
    // A file of the tests, which returns its result.
    'script' => static fn (array $r): mixed => (require __DIR__ . '/' . $r['file'])($r),
];

if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') !== __FILE__) {
    return;
}
while (($line = fgets(STDIN)) !== false) {
    $request = json_decode($line, true, 512, JSON_THROW_ON_ERROR);
    try {
        $response = ['result' => $calls[$request['call']]($request)];
    } catch (Throwable $e) {
        $entra = EntraException::find($e);
        $response = ['error' => [
            'code' => $entra?->errorCode() ?? '',
            'message' => $e->getMessage(),
            'detail' => (object) ($entra?->detail() ?? []),
            'class' => $e::class,
        ]];
    }
    echo json_encode($response, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION | JSON_UNESCAPED_SLASHES), "\n";
}
