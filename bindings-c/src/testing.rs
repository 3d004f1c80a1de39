//! The vectors, for the tests of this library and of bindings that use it. Compiled with the feature `testing` only.

use std::{ffi::c_char, path::Path};

use crate::{
    error_object::pgentra_error,
    ffi::{required_str, string_status},
};

/// Runs a case of `tests/vectors` and returns its result as JSON; see `pgentra_vectors::run`.
///
/// # Safety
/// The first three are C strings; `outcome` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_run_vector(
    group: *const c_char,
    case: *const c_char,
    directory: *const c_char,
    outcome: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (group, case, directory) = unsafe {
            (required_str("group", group)?, required_str("case", case)?, required_str("directory", directory)?)
        };
        pgentra_vectors::run(group, case, Path::new(directory)).map(Some)
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_run_vector", "outcome", outcome, error, work) }
}
