//! The engine's events, passed on to `logging.getLogger("pgentra")`.

use pgentra::bindings::LogLevel;
use pyo3::{intern, prelude::*, sync::PyOnceLock};

use crate::{dispatcher::EVENTS, exit::call_method};

/// The module `logging`.
static LOGGING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Begins to pass events on. Imports `logging` on this thread, which is the application's: Python 3.10 to 3.12 take the
/// thread that first imports `threading`, as `logging` does, for the main thread, and never end if that is one of ours.
///
/// # Errors
/// Python's, if the import fails.
pub fn start(py: Python<'_>) -> PyResult<()> {
    LOGGING.get_or_try_init(py, || py.import("logging").map(Bound::unbind))?;
    // It fails where a Rust program in the same process has its own subscriber, which sees the events then.
    let _ = pgentra::bindings::set_log_sink(|event| {
        let (level, message) = (event.level, event.message.to_owned());
        let is_raised = event.is_raised_to_callers();
        EVENTS.send(move |py| {
            // What a handler raises is its own affair.
            let _ = log(py, level, &message, is_raised);
        });
    });
    Ok(())
}

fn log(py: Python<'_>, level: LogLevel, message: &str, is_raised: bool) -> PyResult<()> {
    let number = level.python_number();
    let Some(logging) = LOGGING.get(py) else { return Ok(()) };
    let logger = call_method(logging.bind(py), intern!(py, "getLogger"), (intern!(py, "pgentra"),))?;
    // Callers raise this failure as an exception. Where the application has not configured logging, Python would print the
    // record to standard error as well.
    if is_raised && !call_method(&logger, intern!(py, "hasHandlers"), ())?.is_truthy()? {
        return Ok(());
    }
    call_method(&logger, intern!(py, "log"), (number, intern!(py, "%s"), message))?;
    Ok(())
}
