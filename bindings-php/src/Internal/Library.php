<?php

declare(strict_types=1);

namespace PgEntra\Internal;

use FFI;
use FFI\CData;
use PgEntra\EntraException;
use PgEntra\Logging;

/**
 * The C library, loaded once in a process. A request of PHP-FPM loads only its declarations.
 *
 * @internal
 */
final class Library
{
    public const TIMEOUT = 8;
    public const CREDENTIAL_VALUE = 14;
    public const INVALID_CONFIGURATION = 15;
    public const INVALID_CONNECTION = 16;
    public const WOULD_DEADLOCK = 18;

    /** A version of the C interface that this package was written for. */
    private const ABI = 1;

    /**
     * The declarations of pgentra.h that this package uses. A test compares them with the header. The
     * cause of an error, which the library does not read, is a number here: PHP cannot convert a pointer to one.
     */
    public const DECLARATIONS = <<<'C'
        typedef struct pgentra_credential pgentra_credential;
        typedef struct pgentra_error pgentra_error;
        typedef struct pgentra_provider pgentra_provider;
        typedef struct pgentra_request pgentra_request;
        typedef struct pgentra_token_request {
          size_t size;
          const char *scope;
          const char *tenant_id;
          const char *claims;
          bool enable_cae;
        } pgentra_token_request;
        const char *pgentra_version(void);
        uint32_t pgentra_abi_version(void);
        int32_t pgentra_stats(const char **json, struct pgentra_error **error);
        void pgentra_string_free(const char *string);
        int32_t pgentra_set_log_queue(int32_t level, struct pgentra_error **error);
        int32_t pgentra_log_next(int32_t *level, const char **target, const char **message, struct pgentra_error **error);
        const char *pgentra_error_message(const struct pgentra_error *error);
        const char *pgentra_error_detail_json(const struct pgentra_error *error);
        intptr_t pgentra_error_cause(const struct pgentra_error *error);
        void pgentra_error_free(struct pgentra_error *error);
        int32_t pgentra_error_new(int32_t kind, const char *message, const char *advice, const char *credential, struct pgentra_error **error);
        int32_t pgentra_provider_open(const char *config_json, struct pgentra_provider **provider, struct pgentra_error **error);
        int32_t pgentra_provider_open_with(const char *config_json, const struct pgentra_credential *credential, struct pgentra_provider **provider, struct pgentra_error **error);
        void pgentra_provider_close(struct pgentra_provider *provider);
        int32_t pgentra_provider_get(const struct pgentra_provider *provider, int32_t timeout_ms, const char **token, int64_t *expires_on, struct pgentra_error **error);
        int32_t pgentra_provider_login(const struct pgentra_provider *provider, int32_t timeout_ms, const char **user, const char **password, const char **user_source, int64_t *expires_on, struct pgentra_error **error);
        int32_t pgentra_provider_try_login(const struct pgentra_provider *provider, uint64_t *id, const char **user, const char **password, const char **user_source, int64_t *expires_on, struct pgentra_error **error);
        int32_t pgentra_provider_invalidate(const struct pgentra_provider *provider, const char *rejected, int32_t timeout_ms, const char **newer, struct pgentra_error **error);
        int32_t pgentra_provider_stats(const struct pgentra_provider *provider, const char **json, struct pgentra_error **error);
        int32_t pgentra_credential_open(const char *config_json, const struct pgentra_credential *const *members, size_t member_count, struct pgentra_credential **credential, struct pgentra_error **error);
        int32_t pgentra_credential_queue(const char *name, struct pgentra_credential **credential, struct pgentra_error **error);
        void pgentra_credential_close(struct pgentra_credential *credential);
        int32_t pgentra_credential_get_token(const struct pgentra_credential *credential, const struct pgentra_token_request *request, int32_t timeout_ms, const char **token, int64_t *expires_on, struct pgentra_error **error);
        int32_t pgentra_request_next(const struct pgentra_credential *credential, int32_t timeout_ms, struct pgentra_request **request, const struct pgentra_token_request **wanted, struct pgentra_error **error);
        int32_t pgentra_request_respond(struct pgentra_request *request, const char *token, int64_t expires_on, int64_t refresh_on, struct pgentra_error **error);
        int32_t pgentra_request_fail(struct pgentra_request *request, const char *class_name, const char *message, bool unavailable, intptr_t cause, void *finalizer, struct pgentra_error **error);
        int32_t pgentra_connection_read(const char *text, const char *form, const char **settings_json, struct pgentra_error **error);
        int32_t pgentra_connection_plan(const char *request_json, const char **plan_json, struct pgentra_error **error);
        int32_t pgentra_decode_jwt(const char *token, const char **claims_json, struct pgentra_error **error);
        int32_t pgentra_describe_token(const char *token, const char **description_json, struct pgentra_error **error);
        int32_t pgentra_parse_principal_name(const char *xms_mirid, const char **name, struct pgentra_error **error);
        int32_t pgentra_resolve_cloud(const char *scope, const char *host, const char *authority_host, const char *cloud, const char *env_authority_host, const char **resolved_json, struct pgentra_error **error);
        const char *pgentra_login_error_cause(const char *sqlstate, const char *message);
        bool pgentra_login_error_is_retriable(const char *sqlstate, const char *message);
        int32_t pgentra_login_error_explain(const char *sqlstate, const char *message, const char *role, const char *role_source, const char *token, const char *host, const char *environment_json, const char **explanation, struct pgentra_error **error);
        C;

    private static ?FFI $library = null;

    private function __construct()
    {
    }

    public static function load(): FFI
    {
        return self::$library ??= self::open(self::DECLARATIONS);
    }

    private static function open(string $declarations): FFI
    {
        if (!class_exists(FFI::class)) {
            throw new \RuntimeException('pgentra needs the FFI extension: install and enable ext-ffi.');
        }
        $tried = [];
        foreach (self::files() as $file) {
            try {
                $library = FFI::cdef($declarations, $file);
            } catch (FFI\ParserException $e) {
                throw $e;
            } catch (FFI\Exception $e) {
                if (str_contains($e->getMessage(), 'restricted')) {
                    throw new \RuntimeException(
                        'PHP does not allow FFI here. Set opcache.preload to the file preload.php of this package, or'
                        . ' ffi.enable=1, in php.ini. The setting "preload" of ffi.enable, which is the default, allows FFI'
                        . ' only on the command line and in preloaded files.',
                        0,
                        $e,
                    );
                }
                $tried[] = $e->getMessage();
                continue;
            }
            if ($library->pgentra_abi_version() !== self::ABI) {
                $tried[] = "$file has version {$library->pgentra_abi_version()} of the C interface, not " . self::ABI;
                continue;
            }
            return $library;
        }
        throw new \RuntimeException(
            "libpgentra cannot be loaded: " . implode('; ', $tried) . '. Install libpgentra for ' . PHP_OS_FAMILY . ' '
            . php_uname('m') . ', or set the environment variable PGENTRA_LIBRARY to its file.',
        );
    }

    /** @return list<string> the files to try, in this order */
    private static function files(): array
    {
        // Only the variables of the process: a request of a web server can set others.
        $chosen = getenv('PGENTRA_LIBRARY', true);
        if (is_string($chosen) && $chosen !== '') {
            return [$chosen];
        }
        $name = ['Windows' => 'pgentra.dll', 'Darwin' => 'libpgentra.1.dylib'][PHP_OS_FAMILY] ?? 'libpgentra.so.1';
        $packaged = dirname(__DIR__, 2) . '/lib/' . strtolower(PHP_OS_FAMILY . '-' . php_uname('m')) . '/' . $name;
        return is_file($packaged) ? [$packaged, $name] : [$name];
    }

    /** Reads the C string of an output, frees it and sets the output to NULL. */
    public static function take(#[\SensitiveParameter] CData $output): ?string
    {
        if (FFI::isNull($output)) {
            return null;
        }
        $text = FFI::string($output);
        self::load()->pgentra_string_free($output);
        // A dump of the output must not read what was freed.
        FFI::addr($output)[0] = null;
        return $text;
    }

    /**
     * Calls a function whose last arguments are one string output and the error.
     *
     * @throws EntraException
     */
    public static function text(string $function, #[\SensitiveParameter] mixed ...$arguments): ?string
    {
        $library = self::load();
        $output = $library->new('const char *');
        $error = $library->new('pgentra_error *');
        $arguments[] = FFI::addr($output);
        $arguments[] = FFI::addr($error);
        if ($library->{$function}(...$arguments) !== 0) {
            throw self::error($error);
        }
        return self::take($output);
    }

    /**
     * As text(), for a JSON document.
     *
     * @return array<array-key, mixed>
     * @throws EntraException
     */
    public static function document(string $function, #[\SensitiveParameter] mixed ...$arguments): array
    {
        return self::decode(self::text($function, ...$arguments) ?? 'null');
    }

    /** @return array<array-key, mixed> */
    public static function decode(#[\SensitiveParameter] string $json): array
    {
        $decoded = json_decode($json, true, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
        return is_array($decoded) ? $decoded : [];
    }

    /**
     * @param array<array-key, mixed> $document
     * @throws EntraException
     */
    public static function encode(#[\SensitiveParameter] array $document): string
    {
        $json = json_encode(
            $document === [] ? new \stdClass() : $document,
            JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION,
        );
        if ($json === false) {
            throw self::newError(
                self::INVALID_CONFIGURATION,
                'an option cannot be written as JSON: ' . json_last_error_msg(),
                'Pass texts in UTF-8, numbers and booleans.',
            );
        }
        return $json;
    }

    /** Returns the exception for an error object, which it frees. The object must exist. */
    public static function error(CData $error): EntraException
    {
        $library = self::load();
        $detail = self::decode((string) $library->pgentra_error_detail_json($error));
        $message = (string) $library->pgentra_error_message($error);
        $cause = CustomQueue::cause($library->pgentra_error_cause($error));
        $library->pgentra_error_free($error);
        Logging::pass();
        if (($detail['code'] ?? null) === 'credential_unavailable') {
            $message .= self::adviceForFpm();
        }
        return EntraException::create($message, $detail, $cause);
    }

    /** Returns what to do in PHP-FPM, whose workers lose the variables of managed identities. */
    private static function adviceForFpm(): string
    {
        if (PHP_SAPI !== 'fpm-fcgi' || getenv('IDENTITY_ENDPOINT', true) !== false) {
            return '';
        }
        return "\nPHP-FPM clears the environment of its workers by default. In the pool's configuration, set clear_env = no,"
            . ' or pass the variables of the identity, such as env[IDENTITY_ENDPOINT] = $IDENTITY_ENDPOINT and'
            . ' env[IDENTITY_HEADER] = $IDENTITY_HEADER.';
    }

    public static function newError(int $kind, string $message, string $advice): EntraException
    {
        $library = self::load();
        $error = $library->new('pgentra_error *');
        $library->pgentra_error_new($kind, $message, $advice, null, FFI::addr($error));
        return self::error($error);
    }
}
