//! The log on standard error.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use pgentra::bindings::{LogLevel, set_log_sink};
use serde_json::json;

use crate::options::{LogFormat, OutputOptions};

/// Whether failed token requests are logged, because no caller gets them as errors.
static SHOWS_FAILED_FETCHES: AtomicBool = AtomicBool::new(false);

/// Starts to log failed token requests, for the time in which tokens are renewed in the background.
pub fn show_failed_fetches() {
    SHOWS_FAILED_FETCHES.store(true, Ordering::Relaxed);
}

/// Starts to write the events of targets `pgentra*` to standard error, from the level `least` on.
pub fn start(options: &OutputOptions, least: LogLevel) {
    let least = match (options.quiet, options.verbose) {
        (true, _) => return,
        (false, true) => LogLevel::Debug,
        (false, false) => least,
    };
    let format = options.log;
    set_log_sink(move |event| {
        // Smaller numbers are more severe.
        if event.level > least {
            return;
        }
        if event.is_raised_to_callers() && least < LogLevel::Debug && !SHOWS_FAILED_FETCHES.load(Ordering::Relaxed) {
            return;
        }
        let line = match format {
            LogFormat::Text => format!("pgentra: {}: {}", event.level.as_str(), event.message),
            LogFormat::Json => {
                json!({ "level": event.level.as_str(), "target": event.target, "message": event.message }).to_string()
            }
        };
        // A closed standard error is not a reason to end.
        let _ = writeln!(std::io::stderr(), "{}", line.replace(['\r', '\n'], " "));
    });
}
