<?php

declare(strict_types=1);

namespace PgEntra\Internal;

use FFI;
use FFI\CData;
use PgEntra\AccessToken;
use PgEntra\CredentialUnavailableException;
use PgEntra\TokenRequest;

/**
 * A credential of the application. Its requests are served on PHP's own thread, while a call waits for a token.
 *
 * @internal
 */
final class CustomQueue
{
    /** The last exceptions of credentials, by the number that errors carry. */
    private const KEPT_CAUSES = 100;

    /** @var array<int, \Throwable> */
    private static array $causes = [];

    private static int $lastCause = 0;

    public readonly CData $handle;

    private bool $serving = false;

    /** @param \Closure(TokenRequest): mixed $getToken */
    public function __construct(string $name, private readonly \Closure $getToken)
    {
        $library = Library::load();
        $handle = $library->new('pgentra_credential *');
        $error = $library->new('pgentra_error *');
        if ($library->pgentra_credential_queue($name, FFI::addr($handle), FFI::addr($error)) !== 0) {
            throw Library::error($error);
        }
        $this->handle = $handle;
    }

    public function __destruct()
    {
        Library::load()->pgentra_credential_close($this->handle);
    }

    /** Returns whether this is called by the credential itself, which then could not respond. */
    public function isServing(): bool
    {
        return $this->serving;
    }

    /** Serves the requests that wait, and waits at most the limit for the first. */
    public function serve(int $limitMs): void
    {
        $library = Library::load();
        $request = $library->new('pgentra_request *');
        $wanted = $library->new('const pgentra_token_request *');
        while (true) {
            $error = $library->new('pgentra_error *');
            $status = $library->pgentra_request_next(
                $this->handle,
                $limitMs,
                FFI::addr($request),
                FFI::addr($wanted),
                FFI::addr($error),
            );
            if ($status !== 0) {
                throw Library::error($error);
            }
            if (FFI::isNull($request)) {
                return;
            }
            $limitMs = 0;
            $this->respond($request, new TokenRequest(
                (string) self::string($wanted[0]->scope),
                self::string($wanted[0]->tenant_id),
                self::string($wanted[0]->claims),
                $wanted[0]->enable_cae,
            ));
        }
    }

    private static function string(mixed $text): ?string
    {
        return $text instanceof CData ? (FFI::isNull($text) ? null : FFI::string($text)) : $text;
    }

    private function respond(CData $request, TokenRequest $wanted): void
    {
        $library = Library::load();
        $this->serving = true;
        try {
            $token = ($this->getToken)($wanted);
            if (is_string($token)) {
                $token = new AccessToken($token);
            }
            if (!$token instanceof AccessToken) {
                throw new \TypeError('the credential returned a value of type ' . get_debug_type($token)
                    . ', not a PgEntra\AccessToken');
            }
            $library->pgentra_request_respond($request, $token->token, $token->expiresOn ?? 0, $token->refreshOn ?? 0, null);
        } catch (\Throwable $e) {
            $number = self::keep($e);
            // A Throwable's message may be in another encoding.
            $library->pgentra_request_fail(
                $request,
                $e::class,
                self::utf8($e->getMessage()),
                $e instanceof CredentialUnavailableException,
                $number,
                null,
                null,
            );
        } finally {
            $this->serving = false;
        }
    }

    /** Returns a text without NUL and without bytes that are not UTF-8. */
    private static function utf8(string $text): string
    {
        $text = str_replace("\0", '', $text);
        return preg_match('//u', $text) === 1 ? $text : (string) preg_replace('/[^\x20-\x7e]/', '?', $text);
    }

    private static function keep(\Throwable $cause): int
    {
        self::$causes[++self::$lastCause] = $cause;
        unset(self::$causes[self::$lastCause - self::KEPT_CAUSES]);
        return self::$lastCause;
    }

    /** Returns the exception of a credential by the number that an error carries. */
    public static function cause(int $number): ?\Throwable
    {
        return self::$causes[$number] ?? null;
    }
}
