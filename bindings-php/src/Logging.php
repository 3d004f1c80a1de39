<?php

declare(strict_types=1);

namespace PgEntra;

use PgEntra\Internal\Library;
use Psr\Log\LoggerInterface;

/**
 * Passes the events of the library to a PSR-3 logger. Without one, warnings about a connection go to PHP's error log, and other
 * events nowhere.
 *
 * PHP code cannot run on a thread of the library. Events therefore wait in the library, and are passed by the calls of this
 * package, and by pass().
 */
final class Logging
{
    private const LEVELS = ['error' => 1, 'warning' => 2, 'info' => 3, 'debug' => 4];

    private static ?LoggerInterface $logger = null;

    private static bool $passing = false;

    private function __construct()
    {
    }

    /**
     * Sets the logger. null: events are dropped.
     *
     * @param string $level the least severe level to pass: "error", "warning", "info" or "debug"
     */
    public static function setLogger(?LoggerInterface $logger, string $level = 'info'): void
    {
        if (!isset(self::LEVELS[$level])) {
            throw new \InvalidArgumentException('$level is none of error, warning, info, debug');
        }
        self::$logger = $logger;
        Library::load()->pgentra_set_log_queue($logger === null ? 0 : self::LEVELS[$level], null);
    }

    /** Passes the events that wait. */
    public static function pass(): void
    {
        if (self::$logger === null || self::$passing) {
            return;
        }
        self::$passing = true;
        try {
            $library = Library::load();
            $level = $library->new('int32_t');
            $target = $library->new('const char *');
            $message = $library->new('const char *');
            for ($passed = 0; $passed < 1000; $passed++) {
                $library->pgentra_log_next(\FFI::addr($level), \FFI::addr($target), \FFI::addr($message), null);
                $text = Library::take($message);
                if ($text === null) {
                    break;
                }
                $name = array_search($level->cdata, self::LEVELS, true) ?: 'debug';
                self::$logger->log($name, $text, ['target' => Library::take($target)]);
            }
        } finally {
            self::$passing = false;
        }
    }

    /** @internal logs a warning about a connection's settings */
    public static function warn(string $message): void
    {
        if (self::$logger !== null) {
            self::$logger->warning($message, ['target' => 'pgentra']);
        } else {
            error_log("pgentra: $message");
        }
    }
}
