//! The engine's errors as exceptions of `pgentra.errors`.

use pgentra::{Error, ErrorKind};
use pyo3::{exceptions::PyRuntimeError, intern, prelude::*, sync::PyOnceLock};

use crate::{convert::to_python, gil_dispatcher::DeferredDrop};

/// Returns a new exception for an error.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        // It fails only if the interpreter is being finalized or memory is exhausted.
        Err(_) => PyRuntimeError::new_err(error.to_string()),
    }
}

/// Creates the exception without running Python code. During Python code the thread could be switched out, and at the
/// end of the process it would not be switched in again (finalize.rs).
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

/// Returns the exception that a custom credential raised: the error's own, or that of the last attempt of a chain that
/// has one.
fn cause<'py>(py: Python<'py>, error: &Error) -> Option<Bound<'py, PyAny>> {
    let object = error.host_cause().and_then(|cause| cause.downcast_ref::<DeferredDrop>());
    object.and_then(|object| object.bind(py).cloned())
        .or_else(|| error.attempts().iter().rev().find_map(|attempt| cause(py, attempt)))
}

/// Returns the exception of an error kind by its code. `advice` replaces the kind's own advice.
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
