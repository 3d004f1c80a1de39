//! The engine's events, passed on to `logging.getLogger("pgentra")`.

use pyo3::{intern, prelude::*};
use tracing::Level;

use crate::dispatcher::EVENTS;

/// Begins to pass events on.
pub fn start() {
    // It fails where a Rust program in the same process has its own subscriber, which sees the events then.
    let _ = pgentra::events::set_sink(Box::new(|level, _, message| {
        let message = message.to_owned();
        EVENTS.send(move |py| {
            // What a handler raises is its own affair.
            let _ = log(py, level, &message);
        });
    }));
}

fn log(py: Python<'_>, level: Level, message: &str) -> PyResult<()> {
    let number = match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        _ => 10,
    };
    // A program that never imported `logging` sees warnings and errors only, so they alone are worth the import.
    let imported = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?.contains(intern!(py, "logging"))?;
    if !imported && number < 30 {
        return Ok(());
    }
    let logger =
        py.import(intern!(py, "logging"))?.call_method1(intern!(py, "getLogger"), (intern!(py, "pgentra"),))?;
    logger.call_method1(intern!(py, "log"), (number, intern!(py, "%s"), message))?;
    Ok(())
}
