//! Passes the engine's log events to `logging.getLogger("pgentra")`.

use pyo3::{intern, prelude::*, sync::PyOnceLock};
use tracing::Level;

use crate::{finalize::call_method, gil_dispatcher::EVENTS};

/// The module `logging`.
static LOGGING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The start of the core's event for a fetch that failed when no usable token was left.
const RAISED_FAILURE: &str = "token fetch failed, no token left";

/// Starts to pass events. Imports `logging` on this thread, which is the application's: Python 3.10 to 3.12 regard the
/// thread that first imports `threading`, as `logging` does, as the main thread, and do not exit if that is one of the
/// library's threads.
///
/// # Errors
/// The exception of the import.
pub fn start(py: Python<'_>) -> PyResult<()> {
    LOGGING.get_or_try_init(py, || py.import("logging").map(Bound::unbind))?;
    // It fails if a Rust program in the same process has its own subscriber, which receives the events then.
    let _ = pgentra::logging::set_sink(Box::new(|level, _, message| {
        let message = message.to_owned();
        EVENTS.send(move |py| {
            // A handler's exception must not end the thread, and there is no caller to raise it to.
            let _ = log(py, level, &message);
        });
    }));
    Ok(())
}

fn log(py: Python<'_>, level: Level, message: &str) -> PyResult<()> {
    let number = match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        _ => 10,
    };
    let Some(logging) = LOGGING.get(py) else { return Ok(()) };
    let logger = call_method(logging.bind(py), intern!(py, "getLogger"), (intern!(py, "pgentra"),))?;
    // Callers raise this failure as an exception. Without this test, Python would also print the record to standard
    // error if the application has not configured logging.
    if message.starts_with(RAISED_FAILURE) && !call_method(&logger, intern!(py, "hasHandlers"), ())?.is_truthy()? {
        return Ok(());
    }
    call_method(&logger, intern!(py, "log"), (number, intern!(py, "%s"), message))?;
    Ok(())
}
