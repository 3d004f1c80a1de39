//! Rules of the engine that Python's side of a driver asks for.

use pgentra::{
    Error, ErrorKind,
    postgres::{login_error, role_name},
};
use pyo3::{prelude::*, types::PyString};

use crate::{convert::to_python, error::raised, exit::detached};

/// All claims of a token, unverified.
#[pyfunction]
pub fn decode_jwt<'py>(token: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = token.py();
    let failed = |message: String| raised(py, &Error::new(ErrorKind::TokenDecode, message));
    let Ok(text) = token.cast::<PyString>() else {
        let class = token.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        return Err(failed(format!("Invalid JWT token format: expected a string, got {class}")));
    };
    let Ok(text) = text.to_str() else {
        return Err(failed("Invalid JWT token format: the string has surrogates".to_owned()));
    };
    let claims = role_name::decode_jwt(text).map_err(|error| failed(error.to_string()))?;
    to_python(py, &serde_json::Value::Object(claims))
}

/// The name of the user-assigned identity that an `xms_mirid` claim stands for.
#[pyfunction]
pub fn parse_principal_name(xms_mirid: &Bound<'_, PyAny>) -> Option<String> {
    role_name::parse_principal_name(&xms_mirid.extract::<String>().ok()?)
}

/// Whether a newer token may succeed where a server refused a login so.
#[pyfunction]
pub fn is_retriable(sqlstate: Option<&str>, message: &str) -> bool {
    login_error::classify(sqlstate, message).retry
}

/// What every cached token of this process is about.
#[pyfunction]
pub fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let stats = detached(py, || serde_json::to_value(pgentra::stats()).unwrap_or_default());
    to_python(py, &stats)
}
