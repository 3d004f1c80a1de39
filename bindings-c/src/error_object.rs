//! The handles of errors.

use std::{ptr, sync::Arc};

use pgentra::Error;

use crate::{handles::Table, string::CountedString};

/// An error: its kind, message and details. Free it with pgentra_error_free().
pub struct pgentra_error;

/// All errors that are not freed.
pub static ERRORS: Table<pgentra_error, Arc<ErrorObject>> = Table::new(1, "error");

/// An error with the strings to which C has pointers.
pub struct ErrorObject {
    pub error: Error,
    pub message: CountedString,
    pub detail: CountedString,
}

/// Creates an error object. Returns NULL if the table is full.
pub fn open(error: Error) -> *mut pgentra_error {
    let mut detail = error.detail();
    detail["error_class"] = error.kind().class().into();
    let message = CountedString::new(&error.to_string());
    let detail = CountedString::new(&detail.to_string());
    ERRORS.insert(Arc::new(ErrorObject { error, message, detail })).unwrap_or(ptr::null_mut())
}
