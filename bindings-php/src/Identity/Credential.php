<?php

declare(strict_types=1);

namespace PgEntra\Identity;

use FFI;
use FFI\CData;
use PgEntra\AccessToken;
use PgEntra\EntraException;
use PgEntra\Internal\CustomQueue;
use PgEntra\Internal\Library;
use PgEntra\Internal\Redacted;
use PgEntra\Internal\Wait;
use PgEntra\TokenCredential;
use PgEntra\TokenRequest;

/**
 * A credential. The subclasses have the names of azure-identity. All of them except custom ones accept these further named
 * arguments: authorityHost, cloud, additionallyAllowedTenants (list), disableInstanceDiscovery, and retry (an array with
 * max_retries, delay and max_delay, in seconds).
 *
 * A credential can be used for several providers, and by itself with getToken(). Dumps of it do not contain its secrets.
 */
abstract class Credential
{
    use Redacted;

    private ?CData $handle = null;

    /** @var list<CustomQueue>|null */
    private ?array $queues = null;

    /**
     * @param array<string, mixed> $arguments by the names of the constructor's parameters
     * @param array<array-key, mixed> $more further named arguments
     */
    protected function __construct(string $type, #[\SensitiveParameter] array $arguments, #[\SensitiveParameter] array $more)
    {
        $document = ['type' => $type];
        foreach ([...$arguments, ...$more] as $name => $value) {
            if (is_int($name)) {
                throw new \ArgumentCountError(static::class . ' has fewer parameters without a name.');
            }
            if ($value !== null) {
                $document[self::snake($name)] = $value;
            }
        }
        $this->keep($document);
    }

    private static function snake(string $name): string
    {
        return strtolower((string) preg_replace('/[A-Z]/', '_$0', $name));
    }

    /** Returns the credential for an assertion, which a function may return. */
    protected static function assertion(mixed $assertion): ?self
    {
        if ($assertion === null || $assertion instanceof self) {
            return $assertion;
        }
        return new CustomCredential(static fn (): string => $assertion(), 'getAssertion');
    }

    /** Returns the content of a certificate's file for the document: PEM as it is, other files in base64. */
    protected static function certificate(#[\SensitiveParameter] ?string $content): ?string
    {
        return $content === null || str_contains($content, '-----BEGIN') ? $content : base64_encode($content);
    }

    /**
     * Returns the value as a credential. Callables and TokenCredential objects become custom credentials.
     *
     * @internal
     */
    public static function of(mixed $value): self
    {
        return match (true) {
            $value instanceof self => $value,
            $value instanceof TokenCredential => new CustomCredential($value->getToken(...), self::nameOf($value)),
            is_array($value) && isset($value['type']) => new DocumentCredential($value),
            is_callable($value) => new CustomCredential($value(...)),
            default => throw Library::newError(
                Library::CREDENTIAL_VALUE,
                'the credential is of type ' . get_debug_type($value),
                'Pass a credential of PgEntra\Identity, a PgEntra\TokenCredential, a callable, or an array with the key "type".',
            ),
        };
    }

    private static function nameOf(object $value): string
    {
        $class = new \ReflectionClass($value);
        return $class->isAnonymous() ? 'TokenCredential' : $class->getShortName();
    }

    /**
     * Returns a token for any scope. Without a cached one, it waits.
     *
     * @param TokenRequest|string $request the request, or its scope
     * @param float|null $timeout the longest wait in seconds. null: 30
     * @throws EntraException
     */
    public function getToken(TokenRequest|string $request, ?float $timeout = null): AccessToken
    {
        $request = is_string($request) ? new TokenRequest($request) : $request;
        $library = Library::load();
        $wanted = $library->new('pgentra_token_request');
        $wanted->size = FFI::sizeof($wanted);
        $wanted->enable_cae = $request->enableCae;
        // The library copies the texts during the call.
        $texts = [];
        foreach (['scope' => $request->scope, 'tenant_id' => $request->tenantId, 'claims' => $request->claims] as $name => $text) {
            if ($text !== null) {
                $length = strlen($text);
                $texts[$name] = $library->new('char[' . ($length + 1) . ']');
                FFI::memcpy($texts[$name], $text, $length);
                $wanted->{$name} = $library->cast('const char *', FFI::addr($texts[$name]));
            }
        }
        $handle = $this->open(null);
        $token = $library->new('const char *');
        $expiresOn = $library->new('int64_t');
        $outputs = [FFI::addr($wanted), FFI::addr($token), FFI::addr($expiresOn)];
        Wait::for($this->queues(), Wait::milliseconds($timeout), static fn (int $limitMs, CData $error): int => $library
            ->pgentra_credential_get_token($handle, $outputs[0], $limitMs, $outputs[1], $outputs[2], $error));
        return new AccessToken((string) Library::take($token), $expiresOn->cdata);
    }

    /**
     * Returns the custom credentials that this one consists of.
     *
     * @internal
     * @return list<CustomQueue>
     */
    public function queues(): array
    {
        if ($this->queues === null) {
            $queues = [];
            $this->describe($queues);
            $this->queues = $queues;
        }
        return $this->queues;
    }

    /**
     * Returns the document of docs/config.schema.json.
     *
     * @internal
     * @return array<string, mixed>
     */
    public function document(): array
    {
        $queues = [];
        return $this->describe($queues);
    }

    /**
     * Returns the document, and adds the custom credentials that it names to the list.
     *
     * @internal
     * @param list<CustomQueue> $queues
     * @return array<string, mixed>
     */
    public function describe(array &$queues): array
    {
        $place = static function (mixed $value) use (&$place, &$queues): mixed {
            return match (true) {
                $value instanceof self => $value->describe($queues),
                is_array($value) => array_map($place, $value),
                default => $value,
            };
        };
        return array_map($place, $this->secret());
    }

    /**
     * Opens the credential, once.
     *
     * @internal
     */
    public function open(?object $environment): CData
    {
        if ($this->handle === null) {
            $library = Library::load();
            $queues = $this->queues();
            $members = $library->new('const pgentra_credential *[' . max(1, count($queues)) . ']');
            foreach ($queues as $index => $queue) {
                $members[$index] = $queue->handle;
            }
            $config = ['credential' => $this->document()];
            if ($environment !== null) {
                $config['environment'] = $environment;
            }
            $handle = $library->new('pgentra_credential *');
            $error = $library->new('pgentra_error *');
            $status = $library->pgentra_credential_open(
                Library::encode($config),
                $library->cast('const pgentra_credential **', FFI::addr($members)),
                count($queues),
                FFI::addr($handle),
                FFI::addr($error),
            );
            if ($status !== 0) {
                throw Library::error($error);
            }
            $this->handle = $handle;
        }
        return $this->handle;
    }

    public function __destruct()
    {
        if ($this->handle !== null) {
            Library::load()->pgentra_credential_close($this->handle);
        }
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return [];
    }
}
