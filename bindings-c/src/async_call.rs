//! Asynchronous calls: each calls the application's callback exactly once.

use std::{
    collections::HashMap,
    ffi::{c_char, c_void},
    ptr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use pgentra::{
    Error, ErrorKind, Pending, Result,
    bindings::{PerProcess, TokenStrings},
};

use crate::{
    callback_pool::COMPLETIONS,
    error::pgentra_error_free,
    error_object::{self, pgentra_error},
    ffi::{Output, catch_panic, required_callback, status, value, write_optional},
    handles::Table,
    string::{CountedString, StaticString, static_string},
    user_data::UserData,
};

/// The outcome of an asynchronous call. All members are borrowed until the callback returns: keep an error with
/// pgentra_error_retain(), and a string with pgentra_string_retain() or a copy.
#[repr(C)]
pub struct pgentra_outcome {
    /// PGENTRA_OK, or the kind of `error`.
    pub code: i32,
    /// NULL on success.
    pub error: *const pgentra_error,
    /// The token or password. For pgentra_provider_invalidate_async(): the newer token to try once more, or NULL.
    pub token: *const c_char,
    /// The role, for pgentra_provider_login_async(); otherwise NULL.
    pub user: *const c_char,
    /// The source of `user`, as described for pgentra_provider_login().
    pub user_source: *const c_char,
    /// The token's expiry, in seconds since 1970; otherwise 0.
    pub expires_on: i64,
    /// For pgentra_credential_get_token_async(): the token's refresh point, in seconds since 1970; otherwise 0.
    pub refresh_on: i64,
    /// The id of the token or login, as described for the function's `_try_` variant; otherwise 0.
    pub id: u64,
}

/// A completion callback. It is called once for each asynchronous call that started, on a thread of the library, which it may
/// block. It is not called inside the function that starts the call, unless the system refuses to create a thread. At most 16
/// completion callbacks run at once; further ones wait.
pub type pgentra_done_callback = Option<unsafe extern "C" fn(user_data: *mut c_void, outcome: *const pgentra_outcome)>;

/// An asynchronous call. Free it with pgentra_operation_free().
pub struct pgentra_operation;

static OPERATIONS: Table<pgentra_operation, Arc<AsyncCall>> = Table::new(2, "operation");

/// The successful result of an asynchronous call.
#[derive(Default)]
pub struct CallResult {
    pub token: Option<CountedString>,
    pub user: Option<(CountedString, StaticString)>,
    pub expires_on: i64,
    pub refresh_on: i64,
    pub id: u64,
}

impl CallResult {
    /// Returns the result of a call for a token.
    pub fn of_token(strings: &TokenStrings<CountedString>) -> CallResult {
        let (expires_on, id) = (strings.token().expires_on(), strings.token_id());
        CallResult { token: Some(strings.password().clone()), expires_on, id, ..CallResult::default() }
    }

    /// Returns the result of a call for a login.
    pub fn of_login(strings: &TokenStrings<CountedString>, user: &CountedString) -> CallResult {
        let user = (user.clone(), static_string(strings.user_source()));
        CallResult { user: Some(user), id: strings.login_id(), ..CallResult::of_token(strings) }
    }
}

/// The pending calls of one handle, which end when the handle is closed. A forked child has no calls of its parent.
#[derive(Default)]
pub struct PendingCalls(PerProcess<Mutex<HashMap<u64, Arc<AsyncCall>>>>);

impl PendingCalls {
    fn lock<T>(&self, work: impl FnOnce(&mut HashMap<u64, Arc<AsyncCall>>) -> T) -> T {
        work(&mut self.0.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends all calls with `cancelled`.
    pub fn cancel(&self) {
        // Outside the lock, because each call removes itself.
        for call in self.lock(std::mem::take).into_values() {
            call.finish(Err(cancelled("the handle was closed during the wait")));
        }
    }
}

fn cancelled(message: &str) -> Error {
    Error::new(ErrorKind::Cancelled, message)
}

type DoneCallback = unsafe extern "C" fn(*mut c_void, *const pgentra_outcome);

/// A pending call with its callback. In a forked child it is empty: the parent calls the callback.
struct AsyncCall {
    callback: PerProcess<Mutex<Option<(DoneCallback, UserData)>>>,
    number: u64,
    calls: Weak<PendingCalls>,
}

impl AsyncCall {
    /// Calls the callback, unless it has been called.
    fn finish(&self, outcome: Result<CallResult>) {
        let Some(callback) = self.callback.peek() else { return };
        let Some((callback, user_data)) = callback.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if let Some(calls) = self.calls.upgrade() {
            calls.lock(|calls| calls.remove(&self.number));
        }
        COMPLETIONS.run(move || call(callback, user_data, outcome));
    }
}

impl Drop for AsyncCall {
    fn drop(&mut self) {
        self.finish(Err(Error::new(ErrorKind::Internal, "the call ended without a result")));
    }
}

fn call(callback: DoneCallback, user_data: UserData, outcome: Result<CallResult>) {
    let (code, error, result) = match catch_panic("callback", || outcome) {
        Ok(result) => (0, ptr::null_mut(), result),
        Err(error) => (error.kind() as i32, error_object::open(error), CallResult::default()),
    };
    let outcome = pgentra_outcome {
        code,
        error,
        token: result.token.as_ref().map_or(ptr::null(), CountedString::as_ptr),
        user: result.user.as_ref().map_or(ptr::null(), |(user, _)| user.as_ptr()),
        user_source: result.user.as_ref().map_or(ptr::null(), |(_, source)| source.as_ptr()),
        expires_on: result.expires_on,
        refresh_on: result.refresh_on,
        id: result.id,
    };
    // SAFETY: the application that passed the callback allows a call with its user data and an outcome.
    unsafe { callback(user_data.0, &outcome) };
    pgentra_error_free(error);
}

/// Runs an export that starts an asynchronous call. `start` returns the calls of the handle, the pending result, and its
/// conversion.
///
/// # Safety
/// `callback` may be called with `user_data` on any thread; `operation` and `error` are NULL or valid for a write.
pub unsafe fn start_call<T: Send + 'static, C: FnOnce(T) -> CallResult + Send + 'static>(
    export: &'static str,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
    start: impl FnOnce() -> Result<(Arc<PendingCalls>, Pending<T>, C)>,
) -> i32 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let work = || {
        let callback = required_callback("callback", callback)?;
        // SAFETY: guaranteed by the caller.
        let operation = unsafe { Output::optional("operation", operation) }?;
        let (calls, pending, convert) = start()?;
        let call = Arc::new(AsyncCall {
            callback: PerProcess::new(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            calls: Arc::downgrade(&calls),
        });
        if operation.is_some() {
            write_optional(&operation, OPERATIONS.insert(Arc::clone(&call))?);
        }
        // From here on the function succeeds and the callback is called.
        call.callback.get(|| Mutex::new(Some((callback, UserData(user_data)))));
        calls.lock(|calls| calls.insert(call.number, Arc::clone(&call)));
        pending.on_done(move |outcome| call.finish(catch_panic("completion", || outcome.map(convert))));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status(export, error, work) }
}

/// Ends the wait of an asynchronous call: its callback is called with PGENTRA_CANCELLED, unless it has been or is being called.
/// The fetch continues for other callers. In a forked child, calls of the parent are not affected.
///
/// @ownership `operation` stays the caller's. @threads any, also inside a callback. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_operation_cancel(
    operation: *const pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        OPERATIONS.get(operation)?.finish(Err(cancelled("the wait was cancelled by the caller")));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_operation_cancel", error, work) }
}

/// Frees the handle of an asynchronous call. The call continues. NULL, and a handle that was freed before, are ignored.
///
/// @ownership `operation` is freed. @threads any, also inside a callback. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_operation_free(operation: *mut pgentra_operation) {
    value("pgentra_operation_free", (), || drop(OPERATIONS.remove(operation)));
}
