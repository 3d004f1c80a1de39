//! The engine's errors as exceptions of `pgentra.errors`.

use pgentra::{Error, bindings};
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
    if let Some(cause) = bindings::cause(error, |cause: &DeferredDrop| cause.bind(py).cloned()) {
        exception.setattr(intern!(py, "__cause__"), cause)?;
    }
    Ok(exception)
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
    exception(py, &bindings::new_error(bindings::kind_of_code(code), message, credential, advice))
}
