//! Rules of the core that Python code needs.

use pgentra::{
    Error, ErrorKind,
    bindings::{FailedLogin, decode_claims},
    postgres::role_name,
};
use pyo3::{prelude::*, types::PyString};

use crate::{convert::to_python, error::raised, finalize::detached};

/// Returns all claims of a token, unverified.
#[pyfunction]
pub fn decode_jwt<'py>(token: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = token.py();
    let failed = |message: String| raised(py, &Error::new(ErrorKind::TokenDecode, message));
    let Ok(text) = token.cast::<PyString>() else {
        let class = token.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
        return Err(failed(format!("Invalid JWT token format: expected a string, got {class}")));
    };
    let Ok(text) = text.to_str() else {
        return Err(failed("Invalid JWT token format: the string has surrogates".to_owned()));
    };
    let claims = decode_claims(text).map_err(|error| raised(py, &error))?;
    to_python(py, &serde_json::Value::Object(claims))
}

/// Returns the name of the user-assigned identity in an `xms_mirid` claim.
#[pyfunction]
pub fn parse_principal_name(xms_mirid: &Bound<'_, PyAny>) -> Option<String> {
    role_name::parse_principal_name(&xms_mirid.extract::<String>().ok()?)
}

/// Returns whether a newer token may succeed after this login error.
#[pyfunction]
pub fn is_retriable(sqlstate: Option<&str>, message: &str) -> bool {
    FailedLogin { sqlstate, message, ..FailedLogin::default() }.classify().retry
}

/// Returns the statistics of every cache entry of this process.
#[pyfunction]
pub fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let stats = detached(py, || serde_json::to_value(pgentra::stats()).unwrap_or_default());
    to_python(py, &stats)
}
