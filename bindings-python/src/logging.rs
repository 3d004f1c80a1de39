//! Passes the engine's log events to `logging.getLogger("pgentra")`.

use pgentra::bindings::{LogLevel, set_log_sink};
use pyo3::{intern, prelude::*, sync::PyOnceLock};

use crate::{finalize::call_method, gil_dispatcher::EVENTS};

/// The module `logging`.
static LOGGING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Starts to pass events. Imports `logging` on this thread, which is the application's: Python 3.10 to 3.12 regard the
/// thread that first imports `threading`, as `logging` does, as the main thread, and do not exit if that is one of the
/// library's threads.
///
/// # Errors
/// The exception of the import.
pub fn start(py: Python<'_>) -> PyResult<()> {
    LOGGING.get_or_try_init(py, || py.import("logging").map(Bound::unbind))?;
    // It fails if a Rust program in the same process has its own subscriber, which receives the events then.
    let _ = set_log_sink(|event| {
        let (level, message, is_raised) = (event.level, event.message.to_owned(), event.is_raised_to_callers());
        EVENTS.send(move |py| {
            // A handler's exception must not end the thread, and there is no caller to raise it to.
            let _ = log(py, level, &message, is_raised);
        });
    });
    Ok(())
}

fn log(py: Python<'_>, level: LogLevel, message: &str, is_raised: bool) -> PyResult<()> {
    let Some(logging) = LOGGING.get(py) else { return Ok(()) };
    let logger = call_method(logging.bind(py), intern!(py, "getLogger"), (intern!(py, "pgentra"),))?;
    // Callers raise this failure as an exception. Without this test, Python would also print the record to standard
    // error if the application has not configured logging.
    if is_raised && !call_method(&logger, intern!(py, "hasHandlers"), ())?.is_truthy()? {
        return Ok(());
    }
    call_method(&logger, intern!(py, "log"), (level.python_number(), intern!(py, "%s"), message))?;
    Ok(())
}
