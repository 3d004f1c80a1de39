//! Functions that concern the whole library.

use std::{
    ffi::c_char,
    ptr,
    time::{Duration, Instant},
};

use pgentra::{Error, ErrorKind};

use crate::{
    callback_pool::{COMPLETIONS, EVENTS, REQUESTS},
    error_object::pgentra_error,
    ffi::{string_status, value},
    request::shut_down_queues,
    string::CountedString,
};

/// The value that pgentra_abi_version() must return for this header. It grows when a function is changed or removed, not when
/// one is added. The shared library's name contains it as well.
pub const PGENTRA_ABI_VERSION: u32 = 1;

/// Returns the version of the library that is loaded, such as "0.1.0". PGENTRA_VERSION is that of the header.
///
/// @ownership static: it is never freed. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_version() -> *const c_char {
    value("pgentra_version", c"".as_ptr(), || concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast())
}

/// Returns PGENTRA_ABI_VERSION of the library that is loaded.
///
/// @ownership nothing is kept. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_abi_version() -> u32 {
    value("pgentra_abi_version", 0, || PGENTRA_ABI_VERSION)
}

/// Stops the background work of this process at its end, and frees the cached tokens. Waits at most 1 s for the engine, and at
/// most 1 s for callbacks. Pending waits end with PGENTRA_SHUTTING_DOWN, and later calls that need a fetch fail with it. A
/// process that ends by exit() or by a return from main() need not call it. If the main thread
/// ends by pthread_exit(), call it before, because such a process runs until its last thread ends.
///
/// @ownership handles stay open. @threads any; inside a callback it does not wait for callbacks. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_shutdown() {
    value("pgentra_shutdown", (), || {
        shut_down_queues();
        pgentra::shutdown();
        let deadline = Instant::now() + Duration::from_secs(1);
        for pool in [&REQUESTS, &COMPLETIONS, &EVENTS] {
            pool.drain(deadline);
        }
        pgentra::bindings::clear_caches();
    });
}

/// Returns the statistics of every cached token of this process, as a JSON array.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_stats(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    let work = || serde_json::to_string(&pgentra::stats()).map(Some).map_err(|error| not_json(&error));
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_stats", "json", json, error, work) }
}

/// Returns the error for statistics that cannot be written.
pub fn not_json(_: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "the statistics cannot be written as JSON")
}

/// Frees a string that a function wrote to an output, or that was retained. The string is overwritten when its last holder
/// frees it. NULL is ignored. Do not use free().
///
/// @ownership ends one reference to `string`. @threads any. @errors cannot fail.
///
/// # Safety
/// `string` is NULL or a string of this library, freed once for each output and each retain.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_string_free(string: *const c_char) {
    // SAFETY: guaranteed by the caller.
    value("pgentra_string_free", (), || drop(unsafe { CountedString::from_raw(string) }));
}

/// Keeps a string of an outcome after the callback has returned, without a copy: it returns the same pointer. NULL gives NULL.
///
/// @ownership the result is the caller's: pgentra_string_free(). @threads any. @errors cannot fail.
///
/// # Safety
/// `string` is NULL or a string of an output or of an outcome of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_string_retain(string: *const c_char) -> *const c_char {
    value("pgentra_string_retain", ptr::null(), || {
        // SAFETY: guaranteed by the caller; the reference is forgotten below, so that it stays the caller's.
        let Some(string) = (unsafe { CountedString::from_raw(string) }) else { return ptr::null() };
        let kept = string.clone();
        std::mem::forget(string);
        kept.into_raw()
    })
}
