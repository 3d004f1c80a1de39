//! The engine's events, passed on to one function of the host's.

use std::{
    ffi::{CString, c_char, c_void},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use pgentra::{Error, ErrorKind, Result, bindings::LogLevel};

use crate::{
    error::pgentra_error,
    guard::status,
    operation::{Finalized, UserData, pgentra_finalizer},
    threads::EVENTS,
};

/// Nothing.
pub const PGENTRA_LOG_OFF: i32 = 0;
/// A refresh failed and the token is about to end, or has ended.
pub const PGENTRA_LOG_ERROR: i32 = 1;
/// A refresh failed while the token is good.
pub const PGENTRA_LOG_WARNING: i32 = 2;
/// It works again.
pub const PGENTRA_LOG_INFO: i32 = 3;
/// Each fetch and each decision.
pub const PGENTRA_LOG_DEBUG: i32 = 4;

/// Takes an event. `level` is one of PGENTRA_LOG_*; `target` is "pgentra" or below it ("pgentra::cache"). Both texts are
/// borrowed until the callback returns.
pub type pgentra_log_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: *const c_char, message: *const c_char)>;

static LISTENER: ArcSwapOption<Listener> = ArcSwapOption::const_empty();

struct Listener {
    level: i32,
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    user_data: Finalized,
}

/// Passes events of `level` (one of PGENTRA_LOG_*) and worse on to `callback`, in their order, one at a time, on a thread of the
/// library's which may block. It takes the place of the one before. NULL: nobody listens.
///
/// @ownership `user_data` stays with the library until `finalizer` (may be NULL) is called with it: once, after another
/// callback has taken its place and the last event is passed on. @threads any. @errors PGENTRA_INVALID_ARGUMENT; then
/// `finalizer` is not called.
///
/// # Safety
/// `callback` and `finalizer` may be called with `user_data` on any thread; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_set_log_callback(
    level: i32,
    callback: pgentra_log_callback,
    user_data: *mut c_void,
    finalizer: pgentra_finalizer,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        if !(PGENTRA_LOG_OFF..=PGENTRA_LOG_DEBUG).contains(&level) {
            return Err(Error::new(ErrorKind::InvalidArgument, "argument `level` is no level of events"));
        }
        let listener = callback.map(|callback| {
            let user_data = Finalized { user_data: UserData(user_data), finalizer, on: &EVENTS };
            Arc::new(Listener { level, callback, user_data })
        });
        if listener.is_some() {
            start();
        }
        LISTENER.store(listener);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_set_log_callback", error, work) }
}

fn start() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    // It fails where a Rust program in the same process has its own subscriber, which sees the events then.
    let _ = pgentra::bindings::set_log_sink(|event| {
        let (target, message) = (event.target, event.message);
        let level = match event.level {
            LogLevel::Error => PGENTRA_LOG_ERROR,
            LogLevel::Warning => PGENTRA_LOG_WARNING,
            LogLevel::Info => PGENTRA_LOG_INFO,
            LogLevel::Debug => PGENTRA_LOG_DEBUG,
        };
        let Some(listener) = LISTENER.load_full().filter(|listener| level <= listener.level) else { return };
        let Ok((target, message)) = texts(target, message) else { return };
        EVENTS.run(move || {
            // SAFETY: the host promised that it may be called so until its finalizer is, which waits for `listener`.
            unsafe { (listener.callback)(listener.user_data.user_data.0, level, target.as_ptr(), message.as_ptr()) }
        });
    });
}

fn texts(target: &str, message: &str) -> Result<(CString, CString)> {
    let text = |text: &str| CString::new(text.replace('\0', "\u{fffd}"));
    let made = text(target).and_then(|target| Ok((target, text(message)?)));
    made.map_err(|_| Error::new(ErrorKind::Internal, "an event with a NUL in it"))
}
