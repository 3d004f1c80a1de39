//! The vectors, for the tests of this binding. Compiled with the feature `testing` alone.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::{error::raised, exit::detached};

/// What comes of a case of `tests/vectors`, as JSON; raised, if that is an error: see `pgentra_vectors::run`.
#[pyfunction]
pub fn run_vector(py: Python<'_>, group: &str, case: &str, directory: PathBuf) -> PyResult<String> {
    detached(py, || pgentra_vectors::run(group, case, &directory)).map_err(|error| raised(py, &error))
}
