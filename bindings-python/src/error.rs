//! The engine's errors as the exceptions of `pgentra.errors`.

use pgentra::{Error, ErrorKind};
use pyo3::{exceptions::PyRuntimeError, intern, prelude::*, sync::PyOnceLock};

use crate::{convert::to_python, dispatcher::Held};

/// The exception of an error, a new one at each call.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        // Only where the interpreter is on its way out, or memory.
        Err(_) => PyRuntimeError::new_err(error.to_string()),
    }
}

/// Made without running any Python code: the thread would let others run in between, and at the end of the process it
/// would not come back (see `exit.rs`).
fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || py.import("pgentra.errors").map(Bound::unbind))?.bind(py);
    let exception = errors.getattr(error.kind().class())?.call1((error.to_string(),))?;
    exception.setattr(intern!(py, "kind"), error.kind() as i32)?;
    exception.setattr(intern!(py, "code"), error.code())?;
    exception.setattr(intern!(py, "aadsts"), error.aadsts())?;
    exception.setattr(intern!(py, "detail"), to_python(py, &error.detail())?)?;
    if let Some(cause) = cause(py, error) {
        exception.setattr(intern!(py, "__cause__"), cause)?;
    }
    Ok(exception)
}

/// The exception that the program's own credential raised: the error's, or that of the attempt of a chain which has one.
fn cause<'py>(py: Python<'py>, error: &Error) -> Option<Bound<'py, PyAny>> {
    let held = error.custom_cause().and_then(|cause| cause.downcast_ref::<Held>());
    held.and_then(|held| held.bind(py).cloned())
        .or_else(|| error.attempts().iter().rev().find_map(|one| cause(py, one)))
}

/// The exception of an error kind by its code; `advice` where there is better than the kind's own.
#[pyfunction]
#[pyo3(signature = (code, message, credential, advice=None))]
pub fn error<'py>(
    py: Python<'py>,
    code: &str,
    message: String,
    credential: Option<String>,
    advice: Option<String>,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = ErrorKind::ALL.iter().copied().find(|kind| kind.code() == code).unwrap_or(ErrorKind::Internal);
    let error = credential.into_iter().fold(Error::new(kind, message), Error::for_credential);
    exception(py, &advice.into_iter().fold(error, Error::with_advice))
}
