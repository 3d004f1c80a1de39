//! A result under way, handed to Python: by blocking, or into a future of an event loop.

use std::time::Duration;

use pgentra::{Pending, Result};
use pyo3::{intern, prelude::*};

use crate::{
    dispatcher::{COMPLETIONS, Held},
    error::raised,
    exit::{call_method, detached},
};

/// How long a wait goes on without looking for signals: Ctrl-C raises `KeyboardInterrupt` within this.
const SLICE: Duration = Duration::from_millis(50);

/// A time limit in seconds.
pub fn limit(seconds: Option<f64>) -> Option<Duration> {
    seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Starts and waits, detached. The work has a time limit of its own.
pub fn block<T: Send + 'static>(py: Python<'_>, start: impl FnOnce() -> Pending<T> + Send) -> PyResult<T> {
    outcome(py, start)?.map_err(|error| raised(py, &error))
}

/// As [`block`], where only a signal's exception ends the wait early.
pub fn outcome<T: Send + 'static>(py: Python<'_>, start: impl FnOnce() -> Pending<T> + Send) -> PyResult<Result<T>> {
    let mut pending = None;
    let mut start = Some(start);
    loop {
        let outcome = detached(py, || {
            if let Some(start) = start.take() {
                pending = Some(start());
            }
            pending.as_ref().and_then(|pending| pending.wait(SLICE))
        });
        match outcome {
            Some(outcome) => return Ok(outcome),
            None => py.check_signals()?,
        }
    }
}

/// Starts, and completes `future` of `event_loop` when the result is there. A loop that is closed by then is left alone,
/// a future that is cancelled too.
pub fn complete<T: Send + 'static>(
    py: Python<'_>,
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    start: impl FnOnce() -> Pending<T> + Send,
    convert: impl FnOnce(Python<'_>, Result<T>) -> PyResult<Py<PyAny>> + Send + 'static,
) {
    let (event_loop, future) = (Held::new(event_loop), Held::new(future));
    detached(py, start).on_done(move |outcome| {
        COMPLETIONS.send(move |py| {
            let (Some(event_loop), Some(future)) = (event_loop.bind(py), future.bind(py)) else { return };
            let (value, error) = match convert(py, outcome) {
                Ok(value) => (value, None),
                Err(error) => (py.None(), Some(error)),
            };
            // It fails where the loop is closed: nobody waits there any more.
            let _ = wrap_pyfunction!(settle, py).and_then(|settle| {
                call_method(event_loop, intern!(py, "call_soon_threadsafe"), (settle, future, value, error))
            });
        });
    });
}

/// On the loop's own thread.
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
