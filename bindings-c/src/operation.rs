//! Asynchronous calls: a result that reaches the host's callback once.

use std::{
    collections::HashMap,
    ffi::{c_char, c_void},
    ptr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use pgentra::{Error, ErrorKind, Pending, Result, bindings::PerProcess};

use crate::{
    error::{self, pgentra_error, pgentra_error_free},
    guard::{Output, callback, caught, status, value},
    handles::Table,
    text::{Text, interned},
    threads::{COMPLETIONS, Threads},
};

/// What an asynchronous call came to. All of it is borrowed until the callback returns: an error is kept by
/// pgentra_error_retain(), a string by pgentra_string_retain() or a copy.
#[repr(C)]
pub struct pgentra_outcome {
    /// PGENTRA_OK, or the kind of `error`.
    pub code: i32,
    /// NULL on success.
    pub error: *const pgentra_error,
    /// The token or password. Of pgentra_provider_invalidate_async(): the newer token that is worth one more try, or NULL.
    pub token: *const c_char,
    /// The role, of pgentra_provider_login_async(); else NULL.
    pub user: *const c_char,
    /// Where `user` came from, as pgentra_provider_login() tells.
    pub user_source: *const c_char,
    /// The token's end, in seconds since 1970; else 0.
    pub expires_on: i64,
    /// Of pgentra_credential_get_token_async(): when it is worth another one; else 0.
    pub refresh_on: i64,
    /// As the function's `_try_` sister tells; else 0.
    pub id: u64,
}

/// Called once for each asynchronous call that began, on a thread of the library's which may block; never inside of the
/// call that began it, unless the system refuses a thread. At most 16 are called at once: where all of them block, the others
/// wait.
pub type pgentra_done_callback = Option<unsafe extern "C" fn(user_data: *mut c_void, outcome: *const pgentra_outcome)>;

/// Called once, on a thread of the library's, when the library will not use `user_data` again.
pub type pgentra_finalizer = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// An asynchronous call. Freed by pgentra_operation_free().
pub struct pgentra_operation;

static OPERATIONS: Table<pgentra_operation, Arc<Wait>> = Table::new(2, "operation");

/// The host's pointer, which means nothing here.
#[derive(Clone, Copy)]
pub struct UserData(pub *mut c_void);

// SAFETY: it is only passed back to the host, which is told that this happens on other threads.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// User data with its end.
pub struct Finalized {
    pub user_data: UserData,
    pub finalizer: pgentra_finalizer,
    /// Where the finalizer is called: what is dropped may be dropped by the engine's own thread.
    pub on: &'static Threads,
}

impl Drop for Finalized {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            let user_data = self.user_data;
            self.on.run(move || {
                let user_data = user_data;
                // SAFETY: the host promised that it may be called once, when nothing uses the data any more.
                unsafe { finalizer(user_data.0) }
            });
        }
    }
}

/// What a call brings on success.
#[derive(Default)]
pub struct Answer {
    pub token: Option<Text>,
    pub user: Option<Text>,
    pub user_source: Option<&'static str>,
    pub expires_on: i64,
    pub refresh_on: i64,
    pub id: u64,
}

/// The waits of one handle: they end when it is closed. A forked child has none of its parent's.
#[derive(Default)]
pub struct Waits(PerProcess<Mutex<HashMap<u64, Arc<Wait>>>>);

impl Waits {
    fn lock<T>(&self, work: impl FnOnce(&mut HashMap<u64, Arc<Wait>>) -> T) -> T {
        work(&mut self.0.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends all of them with `cancelled`.
    pub fn cancel(&self) {
        // Outside of the lock: each takes itself out.
        for wait in self.lock(std::mem::take).into_values() {
            wait.finish(Err(cancelled("the handle was closed during the wait")));
        }
    }
}

fn cancelled(message: &str) -> Error {
    Error::new(ErrorKind::Cancelled, message)
}

/// What an asynchronous call ends with.
type Done = (unsafe extern "C" fn(*mut c_void, *const pgentra_outcome), UserData);

/// A callback that is still to be called. A forked child has none: its parent calls it.
struct Wait {
    done: PerProcess<Mutex<Option<Done>>>,
    number: u64,
    waits: Weak<Waits>,
}

impl Wait {
    /// Calls the callback, if nobody else has.
    fn finish(&self, outcome: Result<Answer>) {
        let Some(done) = self.done.peek() else { return };
        let Some((done, user_data)) = done.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if let Some(waits) = self.waits.upgrade() {
            waits.lock(|waits| waits.remove(&self.number));
        }
        COMPLETIONS.run(move || call(done, user_data, outcome));
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.finish(Err(Error::new(ErrorKind::Internal, "the wait was lost")));
    }
}

fn call(done: unsafe extern "C" fn(*mut c_void, *const pgentra_outcome), user_data: UserData, outcome: Result<Answer>) {
    let (code, error, answer) = match caught("callback", || outcome) {
        Ok(answer) => (0, ptr::null_mut(), answer),
        Err(error) => (error.kind() as i32, error::open(error), Answer::default()),
    };
    let text = |text: &Option<Text>| text.as_ref().map_or(ptr::null(), Text::as_ptr);
    let outcome = pgentra_outcome {
        code,
        error,
        token: text(&answer.token),
        user: text(&answer.user),
        user_source: answer.user_source.map_or(ptr::null(), interned),
        expires_on: answer.expires_on,
        refresh_on: answer.refresh_on,
        id: answer.id,
    };
    // SAFETY: whoever gave the callback promised that it may be called with its user data and an outcome.
    unsafe { done(user_data.0, &outcome) };
    pgentra_error_free(error);
}

/// Runs an export that begins an asynchronous call: `begin` tells whose wait it is, what is under way, and what to make of it.
///
/// # Safety
/// `done` may be called with `user_data` on any thread; `operation` and `error` are NULL or may be written to.
pub unsafe fn asynchronous<T: Send + 'static, C: FnOnce(T) -> Answer + Send + 'static>(
    export: &'static str,
    done: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
    begin: impl FnOnce() -> Result<(Arc<Waits>, Pending<T>, C)>,
) -> i32 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let work = || {
        let done = callback("callback", done)?;
        // SAFETY: as promised by the caller.
        let operation = unsafe { Output::optional("operation", operation) }?;
        let (waits, pending, convert) = begin()?;
        let wait = Arc::new(Wait {
            done: PerProcess::new(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            waits: Arc::downgrade(&waits),
        });
        if let Some(operation) = operation {
            operation.write(OPERATIONS.insert(Arc::clone(&wait))?);
        }
        // From here on the callback is called, and nothing fails.
        wait.done.get(|| Mutex::new(Some((done, UserData(user_data)))));
        waits.lock(|waits| waits.insert(wait.number, Arc::clone(&wait)));
        pending.on_done(move |outcome| wait.finish(caught("completion", || outcome.map(convert))));
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status(export, error, work) }
}

/// Ends the wait of an asynchronous call: its callback is called with PGENTRA_CANCELLED, unless it has been called or is
/// about to be. The fetch goes on for others. In a forked child it does nothing to a call of the parent.
///
/// @ownership `operation` stays the caller's. @threads any, also inside of a callback. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_operation_cancel(
    operation: *const pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        OPERATIONS.get(operation)?.finish(Err(cancelled("the caller gave up the wait")));
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_operation_cancel", error, work) }
}

/// Frees the handle; the call itself goes on. NULL, and a handle that was freed before, are ignored.
///
/// @ownership `operation` is freed. @threads any, also inside of a callback. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_operation_free(operation: *mut pgentra_operation) {
    value("pgentra_operation_free", (), || drop(OPERATIONS.remove(operation)));
}
