//! Runs the vectors, for the tests of this binding. Compiled only with the feature `testing`.

use std::path::Path;

use napi::bindgen_prelude::Result;
use napi_derive::napi;

use crate::error::js_error;

/// Runs a case of `tests/vectors`. Returns the result as JSON, or throws the error: see `pgentra_vectors::run`.
#[napi(catch_unwind)]
pub fn run_vector(group: String, vector: String, directory: String) -> Result<String> {
    pgentra_vectors::run(&group, &vector, Path::new(&directory)).map_err(|error| js_error(&error))
}
