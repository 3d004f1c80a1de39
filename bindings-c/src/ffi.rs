//! The frame of every export: it catches panics, checks arguments, and writes errors and results.

use std::{
    ffi::{CStr, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
};

use pgentra::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::{
    error_object::{self, pgentra_error},
    string::CountedString,
};

/// Runs an export that can fail. Returns 0 or the error's kind, and writes the error to `error`.
///
/// # Safety
/// `error` is NULL or valid for a write.
pub unsafe fn status(export: &'static str, error: *mut *mut pgentra_error, work: impl FnOnce() -> Result<()>) -> i32 {
    let Err(failure) = catch_panic(export, work) else { return 0 };
    let kind = failure.kind() as i32;
    // SAFETY: guaranteed by the caller. If writing the error panics too, only the kind is returned.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe { write_error(failure, error) }));
    kind
}

/// Writes an error object to `output`, unless that is NULL.
///
/// # Safety
/// `output` is NULL or valid for a write.
unsafe fn write_error(error: Error, output: *mut *mut pgentra_error) {
    // SAFETY: guaranteed by the caller.
    if let Ok(Some(output)) = unsafe { Output::optional("error", output) } {
        output.write(error_object::open(error));
    }
}

/// Runs an export that returns a string or NULL.
///
/// # Safety
/// `output` and `error` are NULL or valid for a write.
pub unsafe fn string_status(
    export: &'static str,
    name: &str,
    output: *mut *const c_char,
    error: *mut *mut pgentra_error,
    work: impl FnOnce() -> Result<Option<String>>,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let output = unsafe { Output::new(name, output) }?;
        // The string may contain a secret. The copy for C is zeroized as well.
        let string = work()?.map(Zeroizing::new);
        output.write(string.map_or(ptr::null(), |string| CountedString::new(&string).into_raw()));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status(export, error, work) }
}

/// Runs an export that cannot fail, and returns `otherwise` after a panic.
pub fn value<T>(export: &'static str, otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_panic(export, || Ok(work())).unwrap_or(otherwise)
}

/// Converts a panic to an error of kind `internal`. `name` is the failpoint's name too.
#[inline]
pub fn catch_panic<T>(name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        failpoint(name);
        work()
    }));
    outcome.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, format!("{name} panicked"))))
}

/// Panics if a test has activated the failpoint of this name.
#[cfg(feature = "testing")]
pub fn failpoint(name: &str) {
    let mut active = FAILPOINT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if active.as_deref() == Some(name) {
        *active = None;
        drop(active);
        panic!("failpoint {name}");
    }
}

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn failpoint(_: &str) {}

#[cfg(feature = "testing")]
static FAILPOINT: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// Activates a failpoint: the next call of the export, or the next run of the task, of that name panics. NULL deactivates it.
/// For tests.
///
/// # Safety
/// `name` is NULL or a C string.
#[cfg(feature = "testing")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_set_failpoint(name: *const c_char) {
    // SAFETY: guaranteed by the caller.
    let name = unsafe { optional_str("name", name) }.ok().flatten().map(str::to_owned);
    *FAILPOINT.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
}

/// Returns the error for an argument of an export.
pub fn invalid_argument(name: &str, problem: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("argument `{name}` {problem}"))
}

/// Reads a required C string.
///
/// # Safety
/// `string` is NULL or a C string that does not change while the result is used.
pub unsafe fn required_str<'a>(name: &str, string: *const c_char) -> Result<&'a str> {
    // SAFETY: guaranteed by the caller.
    unsafe { optional_str(name, string) }?.ok_or_else(|| invalid_argument(name, "is NULL"))
}

/// Reads a C string that may be NULL.
///
/// # Safety
/// As for [`required_str`].
pub unsafe fn optional_str<'a>(name: &str, string: *const c_char) -> Result<Option<&'a str>> {
    if string.is_null() {
        return Ok(None);
    }
    // SAFETY: guaranteed by the caller.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_str().map(Some).map_err(|_| invalid_argument(name, "is not valid UTF-8"))
}

/// Reads an array, which may be empty.
///
/// # Safety
/// `first` is NULL or points to `count` values that do not change while the result is used.
pub unsafe fn array<'a, T>(name: &str, first: *const T, count: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() || !first.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(invalid_argument(name, "is not an array of that length"));
    }
    // SAFETY: guaranteed by the caller; alignment and size are checked above.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// A pointer to which an export writes a result.
pub struct Output<T>(NonNull<T>);

impl<T> Output<T> {
    /// Checks an output that is required.
    ///
    /// # Safety
    /// `output` is NULL or valid for writes until the export returns.
    pub unsafe fn new(name: &str, output: *mut T) -> Result<Output<T>> {
        NonNull::new(output)
            .filter(|output| output.is_aligned())
            .map(Output)
            .ok_or_else(|| invalid_argument(name, "is NULL"))
    }

    /// Checks an output that may be NULL.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    pub unsafe fn optional(name: &str, output: *mut T) -> Result<Option<Output<T>>> {
        // SAFETY: guaranteed by the caller.
        if output.is_null() { Ok(None) } else { unsafe { Self::new(name, output) }.map(Some) }
    }

    /// Reads an output that is an input as well.
    pub fn read(&self) -> T
    where
        T: Copy,
    {
        // SAFETY: guaranteed to `new`; the caller of the export has initialised the value.
        unsafe { self.0.read() }
    }

    /// Writes the result.
    pub fn write(&self, value: T) {
        // SAFETY: guaranteed to `new`.
        unsafe { self.0.write(value) }
    }
}

/// Writes a result to an output that may be NULL.
pub fn write_optional<T>(output: &Option<Output<T>>, value: T) {
    if let Some(output) = output {
        output.write(value);
    }
}

/// Checks a callback that is required.
pub fn required_callback<T>(name: &str, callback: Option<T>) -> Result<T> {
    callback.ok_or_else(|| invalid_argument(name, "is NULL"))
}
