//! What is about the library as a whole.

use std::{
    ffi::c_char,
    ptr,
    time::{Duration, Instant},
};

use pgentra::{Error, ErrorKind};

use crate::{
    error::pgentra_error,
    guard::{to_text, value},
    text::Text,
    threads::{COMPLETIONS, EVENTS, QUESTIONS},
};

/// What pgentra_abi_version() must return for this header. It grows when a function is changed or taken away, not when one is
/// added; the shared library's name has it too.
pub const PGENTRA_ABI_VERSION: u32 = 1;

/// The version of the library, such as "0.1.0".
///
/// @ownership static, never to be freed. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_version() -> *const c_char {
    value("pgentra_version", c"".as_ptr(), || concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast())
}

/// PGENTRA_ABI_VERSION of the library that is loaded.
///
/// @ownership nothing is kept. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_abi_version() -> u32 {
    value("pgentra_abi_version", 0, || PGENTRA_ABI_VERSION)
}

/// Stops the background work of this process, for its end: waits at most 1 s for the engine, and at most 1 s for callbacks.
/// Waits under way end with PGENTRA_SHUTTING_DOWN, and so does from now on every call that would have to fetch. A process that
/// ends by exit() or by a return from main() need not call it; one whose main thread ends by pthread_exit() does, because such a
/// process goes on until its last thread ends.
///
/// @ownership nothing is freed. @threads any; inside of a callback it does not wait for callbacks. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_shutdown() {
    value("pgentra_shutdown", (), || {
        pgentra::shutdown();
        let deadline = Instant::now() + Duration::from_secs(1);
        for threads in [&QUESTIONS, &COMPLETIONS, &EVENTS] {
            threads.drain(deadline);
        }
    });
}

/// What every cached token of this process is about, as a JSON array.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_stats(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    let work = || serde_json::to_string(&pgentra::stats()).map(Some).map_err(|error| no_json(&error));
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_stats", "json", json, error, work) }
}

pub fn no_json(_: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "the figures are no JSON")
}

/// Gives back a string that a function wrote to an output, or that was retained; the last one to do so wipes it. NULL is
/// ignored. free() must not be used.
///
/// @ownership takes one share of `string` back. @threads any. @errors none.
///
/// # Safety
/// `string` is NULL or a string of this library that is given back once for each time it was handed out or retained.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_string_free(string: *const c_char) {
    // SAFETY: as promised by the caller.
    value("pgentra_string_free", (), || drop(unsafe { Text::from_raw(string) }));
}

/// Keeps a string of an outcome beyond the callback, without copying it: the same pointer. NULL gives NULL.
///
/// @ownership one pgentra_string_free() more. @threads any. @errors none.
///
/// # Safety
/// `string` is NULL or a string of an output or of an outcome of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_string_retain(string: *const c_char) -> *const c_char {
    value("pgentra_string_retain", ptr::null(), || {
        // SAFETY: as promised by the caller; the share that it has is not given back here.
        if let Some(text) = unsafe { Text::from_raw(string) } {
            let kept = text.clone();
            std::mem::forget(text);
            return kept.into_raw();
        }
        ptr::null()
    })
}
