//! The vectors, for the tests of this binding. Compiled with the feature `testing` alone.

use std::path::Path;

use napi::bindgen_prelude::Result;
use napi_derive::napi;

use crate::error::thrown;

/// What comes of a case of `tests/vectors`, as JSON; thrown, if that is an error: see `pgentra_vectors::run`.
#[napi(catch_unwind)]
pub fn run_vector(group: String, vector: String, directory: String) -> Result<String> {
    pgentra_vectors::run(&group, &vector, Path::new(&directory)).map_err(|error| thrown(&error))
}
