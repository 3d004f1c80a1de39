//! Waits for a pending result of the engine: blocking, or through a future of an event loop.

use std::time::Duration;

use pgentra::{Pending, Result};
use pyo3::{intern, prelude::*};

use crate::{
    error::raised,
    finalize::{call_method, detached},
    gil_dispatcher::{COMPLETIONS, DeferredDrop},
};

/// The interval at which a wait checks for signals: Ctrl-C raises `KeyboardInterrupt` within this time.
const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Converts a time limit in seconds.
pub fn limit(seconds: Option<f64>) -> Option<Duration> {
    seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Starts the work and waits for it, detached. The work has its own time limit.
///
/// # Errors
/// The exception of the work's error, or of a signal.
pub fn block<T: Send + 'static>(py: Python<'_>, start: impl FnOnce() -> Pending<T> + Send) -> PyResult<T> {
    outcome(py, start)?.map_err(|error| raised(py, &error))
}

/// As [`block`], but returns the work's error as a value.
///
/// # Errors
/// The exception of a signal, which ends the wait.
pub fn outcome<T: Send + 'static>(py: Python<'_>, start: impl FnOnce() -> Pending<T> + Send) -> PyResult<Result<T>> {
    let mut pending = None;
    let mut start = Some(start);
    loop {
        let outcome = detached(py, || {
            if let Some(start) = start.take() {
                pending = Some(start());
            }
            pending.as_ref().and_then(|pending| pending.wait(SIGNAL_CHECK_INTERVAL))
        });
        match outcome {
            Some(outcome) => return Ok(outcome),
            None => py.check_signals()?,
        }
    }
}

/// Starts the work, and completes `future` of `event_loop` with its result. Does nothing if the loop is closed or the
/// future is cancelled by then.
pub fn complete<T: Send + 'static>(
    py: Python<'_>,
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    start: impl FnOnce() -> Pending<T> + Send,
    convert: impl FnOnce(Python<'_>, Result<T>) -> PyResult<Py<PyAny>> + Send + 'static,
) {
    let (event_loop, future) = (DeferredDrop::new(event_loop), DeferredDrop::new(future));
    detached(py, start).on_done(move |outcome| {
        COMPLETIONS.send(move |py| {
            let (Some(event_loop), Some(future)) = (event_loop.bind(py), future.bind(py)) else { return };
            let (value, error) = match convert(py, outcome) {
                Ok(value) => (value, None),
                Err(error) => (py.None(), Some(error)),
            };
            // It fails if the loop is closed: its waiting tasks have ended.
            let _ = wrap_pyfunction!(settle, py).and_then(|settle| {
                call_method(event_loop, intern!(py, "call_soon_threadsafe"), (settle, future, value, error))
            });
        });
    });
}

/// Completes `future`, on the loop's own thread.
#[pyfunction]
fn settle(future: &Bound<'_, PyAny>, value: Py<PyAny>, error: Option<Py<PyAny>>) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match error {
        None => call_method(future, intern!(py, "set_result"), (value,))?,
        Some(error) => call_method(future, intern!(py, "set_exception"), (error,))?,
    };
    Ok(())
}
