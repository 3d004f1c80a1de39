//! The vectors, for the tests of this library and of what stands on it. Compiled with the feature `testing` alone.

use std::{ffi::c_char, path::Path};

use crate::{
    error::pgentra_error,
    guard::{text, to_text},
};

/// What comes of a case of `tests/vectors`, as JSON: see `pgentra_vectors::run`.
///
/// # Safety
/// The first three are C strings; `outcome` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_run_vector(
    group: *const c_char,
    case: *const c_char,
    directory: *const c_char,
    outcome: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let [group, case, directory] =
            unsafe { [text("group", group)?, text("case", case)?, text("directory", directory)?] };
        pgentra_vectors::run(group, case, Path::new(directory)).map(Some)
    };
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_run_vector", "outcome", outcome, error, work) }
}
