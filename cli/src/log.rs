//! The log on standard error.

use std::io::Write;

use pgentra::bindings::{LogLevel, set_log_sink};
use serde_json::json;

use crate::options::{LogFormat, OutputOptions};

/// Starts to write the events of targets `pgentra*` to standard error: from the level `info` on with `info`, otherwise
/// from `warning` on.
pub fn start(options: &OutputOptions, info: bool) {
    let least = match (options.quiet, options.verbose, info) {
        (true, _, _) => return,
        (false, true, _) => LogLevel::Debug,
        (false, false, true) => LogLevel::Info,
        (false, false, false) => LogLevel::Warning,
    };
    let format = options.log;
    set_log_sink(move |event| {
        // Smaller numbers are more severe.
        if event.level > least {
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
