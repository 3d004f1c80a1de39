//! The engine's events for the application's logging.

use std::sync::{
    Arc,
    mpsc::{SyncSender, sync_channel},
};

use pgentra::bindings::{self, start_thread};

/// The number of events that wait for a sink that blocks. Further ones are dropped.
const WAITING: usize = 1024;

/// The level of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// A refresh failed, and the token has expired or expires soon.
    Error,
    /// A refresh failed while the token is usable.
    Warning,
    /// A recovery.
    Info,
    /// Each fetch and each decision.
    Debug,
}

impl From<bindings::LogLevel> for LogLevel {
    fn from(level: bindings::LogLevel) -> Self {
        match level {
            bindings::LogLevel::Error => LogLevel::Error,
            bindings::LogLevel::Warning => LogLevel::Warning,
            bindings::LogLevel::Info => LogLevel::Info,
            bindings::LogLevel::Debug => LogLevel::Debug,
        }
    }
}

/// Receives the events, which the application implements.
#[uniffi::export(with_foreign)]
pub trait LogSink: Send + Sync {
    /// Receives an event, one at a time and in their order, on a thread of the library. `target` is `pgentra` or a name
    /// below it.
    fn log(&self, level: LogLevel, target: String, text: String);
}

/// Passes the events to `sink` for the life of the process. Returns false if a sink is set already, which keeps the
/// events.
#[uniffi::export]
pub fn set_log_sink(sink: Arc<dyn LogSink>) -> bool {
    let (sender, receiver): (SyncSender<(LogLevel, String, String)>, _) = sync_channel(WAITING);
    let is_set = bindings::set_log_sink(move |event| {
        let _ = sender.try_send((event.level.into(), event.target.to_owned(), event.message.to_owned()));
    });
    // Without the thread the events stay in the channel, which is bounded.
    is_set
        && start_thread("pgentra-log", move || {
            for (level, target, text) in receiver {
                sink.log(level, target, text);
            }
        })
        .is_ok()
}
