//! What stands around every export: no panic leaves it, and no argument is used that was not looked at.

use std::{
    ffi::{CStr, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
};

use pgentra::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::{
    error::{give, pgentra_error},
    text::Text,
};

/// Runs an export that can fail: its error goes to `error`, its kind is returned.
///
/// # Safety
/// `error` is NULL or may be written to.
pub unsafe fn status(export: &'static str, error: *mut *mut pgentra_error, work: impl FnOnce() -> Result<()>) -> i32 {
    let Err(failure) = caught(export, work) else { return 0 };
    let kind = failure.kind() as i32;
    // SAFETY: as promised by the caller. If even this panics, the kind is told alone.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe { give(failure, error) }));
    kind
}

/// Runs an export whose result is a text or NULL.
///
/// # Safety
/// `place` and `error` are NULL or may be written to.
pub unsafe fn to_text(
    export: &'static str,
    name: &str,
    place: *mut *const c_char,
    error: *mut *mut pgentra_error,
    work: impl FnOnce() -> Result<Option<String>>,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let place = unsafe { Output::new(name, place) }?;
        // The text may hold a secret, and C's copy is wiped too.
        place.write(work()?.map(Zeroizing::new).map_or(ptr::null(), |text| Text::new(&text).into_raw()));
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status(export, error, work) }
}

/// Runs an export that cannot fail; `otherwise` is its value after a panic.
pub fn value<T>(export: &'static str, otherwise: T, work: impl FnOnce() -> T) -> T {
    caught(export, || Ok(work())).unwrap_or(otherwise)
}

/// A panic becomes an error of kind `internal`.
#[inline]
pub fn caught<T>(place: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        canary(place);
        work()
    }));
    outcome.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, format!("{place} panicked"))))
}

/// Panics if a test has canary a panic here.
#[cfg(feature = "testing")]
pub fn canary(place: &str) {
    let mut canary = CANARY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if canary.as_deref() == Some(place) {
        *canary = None;
        drop(canary);
        panic!("canary in {place}");
    }
}

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn canary(_: &str) {}

#[cfg(feature = "testing")]
static CANARY: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// Makes the next call of the export, or the next run of the task, of that name panic; NULL: none. For tests.
///
/// # Safety
/// `place` is NULL or a C string.
#[cfg(feature = "testing")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_plant_panic(place: *const c_char) {
    // SAFETY: as promised by the caller.
    let place = unsafe { optional_text("place", place) }.ok().flatten().map(str::to_owned);
    *CANARY.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = place;
}

fn refused(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("argument `{name}` {what}"))
}

/// A text that must be there.
///
/// # Safety
/// `text` is NULL or a C string that stays as it is while the result is used.
pub unsafe fn text<'a>(name: &str, text: *const c_char) -> Result<&'a str> {
    // SAFETY: as promised by the caller.
    unsafe { optional_text(name, text) }?.ok_or_else(|| refused(name, "is NULL"))
}

/// A text that may be NULL.
///
/// # Safety
/// As [`text`].
pub unsafe fn optional_text<'a>(name: &str, text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: as promised by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| refused(name, "is not UTF-8"))
}

/// An array that may be empty.
///
/// # Safety
/// `first` is NULL or points to `count` values that stay as they are while the result is used.
pub unsafe fn array<'a, T>(name: &str, first: *const T, count: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() || !first.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(refused(name, "is no array of that length"));
    }
    // SAFETY: as promised by the caller, and looked at above.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// A place that a result goes to, if there is one.
pub struct Output<T>(NonNull<T>);

impl<T> Output<T> {
    /// A place that must be there.
    ///
    /// # Safety
    /// `place` is NULL or may be written to until the export returns.
    pub unsafe fn new(name: &str, place: *mut T) -> Result<Output<T>> {
        NonNull::new(place).filter(|place| place.is_aligned()).map(Output).ok_or_else(|| refused(name, "is NULL"))
    }

    /// A place that may be NULL.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub unsafe fn optional(name: &str, place: *mut T) -> Result<Option<Output<T>>> {
        // SAFETY: as promised by the caller.
        if place.is_null() { Ok(None) } else { unsafe { Self::new(name, place) }.map(Some) }
    }

    /// What is there.
    pub fn read(&self) -> T
    where
        T: Copy,
    {
        // SAFETY: as promised to `new`; C wrote a value there.
        unsafe { self.0.read() }
    }

    /// Writes the result.
    pub fn write(&self, value: T) {
        // SAFETY: as promised to `new`.
        unsafe { self.0.write(value) }
    }
}

/// A callback that must be there.
pub fn callback<T>(name: &str, callback: Option<T>) -> Result<T> {
    callback.ok_or_else(|| refused(name, "is NULL"))
}
