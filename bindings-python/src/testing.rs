//! The test vectors, for this binding's tests. Compiled only with the feature `testing`.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::{error::raised, finalize::detached};

/// Returns the result of a case of `tests/vectors` as JSON, or raises its error: see `pgentra_vectors::run`.
#[pyfunction]
pub fn run_vector(py: Python<'_>, group: &str, case: &str, directory: PathBuf) -> PyResult<String> {
    detached(py, || pgentra_vectors::run(group, case, &directory)).map_err(|error| raised(py, &error))
}
