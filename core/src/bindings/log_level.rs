//! The engine's events for the logging of the application's language.

use tracing::Level;

use crate::{cache::log, logging};

/// The level of an event. The numbers are those of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// A refresh failed and the token is about to expire, or has expired.
    Error = 1,
    /// A refresh failed while the token is valid.
    Warning = 2,
    /// A recovery.
    Info = 3,
    /// Each fetch and each decision.
    Debug = 4,
}

impl LogLevel {
    /// Returns the name: `error`, `warning`, `info` or `debug`.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// Returns the number of the C library.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Returns the number in Python's `logging`: 10 to 40.
    pub const fn python_number(self) -> i32 {
        50 - 10 * self.number()
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warning,
            Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        }
    }
}

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct LogEvent<'a> {
    /// The level.
    pub level: LogLevel,
    /// `pgentra`, or a name below it.
    pub target: &'a str,
    /// The message with its fields.
    pub message: &'a str,
}

impl LogEvent<'_> {
    /// Returns whether callers get the same failure as an error, so that an application that has not configured logging
    /// needs no second report.
    pub fn is_raised_to_callers(&self) -> bool {
        self.target == log::TARGET && self.message.starts_with(log::NO_TOKEN_LEFT)
    }
}

/// Passes the engine's events to `sink`, for the life of the process. `sink` must not block. Returns false if a sink or
/// a subscriber of a Rust program in the same process is set already; that one receives the events then.
pub fn set_log_sink(sink: impl Fn(LogEvent<'_>) + Send + Sync + 'static) -> bool {
    logging::set_sink(Box::new(move |level, target, message| {
        sink(LogEvent { level: level.into(), target, message });
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_level_has_the_numbers_of_each_language() {
        let table = [
            (Level::ERROR, "error", 1, 40),
            (Level::WARN, "warning", 2, 30),
            (Level::INFO, "info", 3, 20),
            (Level::DEBUG, "debug", 4, 10),
            (Level::TRACE, "debug", 4, 10),
        ];
        for (level, name, number, python) in table {
            let level = LogLevel::from(level);
            assert_eq!((level.as_str(), level.number(), level.python_number()), (name, number, python));
        }
    }
}
