<?php

declare(strict_types=1);

namespace PgEntra\Internal;

use FFI;
use PgEntra\Logging;

/**
 * Waits for a token, and serves the requests of custom credentials meanwhile.
 *
 * @internal
 */
final class Wait
{
    /** The default limit of a provider, for the wait that is divided into parts. */
    private const LIMIT_MS = 30000;

    private const PART_MS = 10;

    private function __construct()
    {
    }

    /** Converts a limit in seconds. */
    public static function milliseconds(?float $seconds): int
    {
        if ($seconds === null) {
            return -1;
        }
        return (int) min(max(0, ceil($seconds * 1000)), 0x7fffffff);
    }

    /**
     * Calls a function that blocks.
     *
     * @param list<CustomQueue> $queues
     * @param \Closure(int, FFI\CData): int $call takes the limit in milliseconds and the output of the error
     */
    public static function for(array $queues, int $limitMs, \Closure $call): void
    {
        $library = Library::load();
        $error = $library->new('pgentra_error *');
        $output = FFI::addr($error);
        if ($queues === []) {
            if ($call($limitMs, $output) !== 0) {
                throw Library::error($error);
            }
            Logging::pass();
            return;
        }
        foreach ($queues as $queue) {
            if ($queue->isServing()) {
                throw Library::newError(
                    Library::WOULD_DEADLOCK,
                    'a custom credential requested a token of a provider that uses it',
                    'Use another provider inside the credential.',
                );
            }
        }
        $deadline = hrtime(true) + ($limitMs < 0 ? self::LIMIT_MS : $limitMs) * 1_000_000;
        $part = 0;
        while (($kind = $call($part, $output)) !== 0) {
            if ($kind !== Library::TIMEOUT || hrtime(true) >= $deadline) {
                throw Library::error($error);
            }
            $library->pgentra_error_free($error);
            $error = $library->new('pgentra_error *');
            $output = FFI::addr($error);
            // The request of a fetch that has just started arrives a moment later.
            self::serve($queues, self::PART_MS);
            $part = (int) min(self::PART_MS, max(1, ($deadline - hrtime(true)) / 1_000_000));
        }
        // A refresh that a call started earlier may have arrived meanwhile.
        self::serve($queues, 0);
        Logging::pass();
    }

    /**
     * Serves the requests that wait, unless a credential makes this call itself.
     *
     * @param list<CustomQueue> $queues
     */
    public static function serve(array $queues, int $limitMs): void
    {
        foreach ($queues as $queue) {
            if (!$queue->isServing()) {
                $queue->serve($limitMs);
            }
        }
    }
}
