//! Log events, which are passed to one function of the application.

use std::{
    ffi::{CString, NulError, c_char, c_void},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use pgentra::bindings::{PerProcess, set_log_sink};

use crate::{
    callback_pool::EVENTS,
    error_object::pgentra_error,
    ffi::{invalid_argument, status},
    user_data::{Finalized, UserData, pgentra_finalizer},
};

/// No events.
pub const PGENTRA_LOG_OFF: i32 = 0;
/// A refresh failed, and the token has expired or expires soon.
pub const PGENTRA_LOG_ERROR: i32 = 1;
/// A refresh failed while the token is usable.
pub const PGENTRA_LOG_WARNING: i32 = 2;
/// A refresh succeeded after failures.
pub const PGENTRA_LOG_INFO: i32 = 3;
/// Every fetch and every decision.
pub const PGENTRA_LOG_DEBUG: i32 = 4;

/// Receives an event. `level` is one of PGENTRA_LOG_*; `target` is "pgentra" or a name below it, such as "pgentra::cache". Both
/// strings are borrowed until the callback returns.
pub type pgentra_log_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: *const c_char, message: *const c_char)>;

static LISTENER: ArcSwapOption<Listener> = ArcSwapOption::const_empty();

/// The same listener. It is never read: leak checkers follow this pointer, which is to the start of the block, and not the one
/// of [`LISTENER`].
static LISTENER_BLOCK: PerProcess<Mutex<Option<Arc<Listener>>>> = PerProcess::new();

struct Listener {
    level: i32,
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    user_data: Finalized,
}

/// Passes events of `level` (one of PGENTRA_LOG_*) and of more severe levels to `callback`: in their order, one at a time, on a
/// thread of the library, which it may block. It replaces the previous callback. NULL: events are dropped.
///
/// @ownership the library keeps `user_data` until it calls `finalizer` (may be NULL) with it: once, after another callback has
/// replaced it and the last event is passed. @threads any. @errors PGENTRA_INVALID_ARGUMENT; then `finalizer` is not called.
///
/// # Safety
/// `callback` and `finalizer` may be called with `user_data` on any thread; `error` is NULL or valid for a write.
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
            return Err(invalid_argument("level", "is not one of PGENTRA_LOG_*"));
        }
        let listener = callback.map(|callback| {
            let user_data = Finalized { user_data: UserData(user_data), finalizer, pool: &EVENTS };
            Arc::new(Listener { level, callback, user_data })
        });
        if listener.is_some() {
            start();
        }
        let replaced = {
            let mut block = LISTENER_BLOCK.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
            LISTENER.store(listener.clone());
            std::mem::replace(&mut *block, listener)
        };
        drop(replaced);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_set_log_callback", error, work) }
}

fn start() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    // This fails if a Rust program in the same process has its own subscriber, which then receives the events.
    set_log_sink(|event| {
        let level = event.level.number();
        let Some(listener) = LISTENER.load_full().filter(|listener| level <= listener.level) else { return };
        let Ok((target, message)) = c_strings(event.target, event.message) else { return };
        EVENTS.run(move || {
            // SAFETY: the application allows these calls until its finalizer is called, which `listener` prevents.
            unsafe { (listener.callback)(listener.user_data.user_data.0, level, target.as_ptr(), message.as_ptr()) }
        });
    });
}

fn c_strings(target: &str, message: &str) -> Result<(CString, CString), NulError> {
    let convert = |text: &str| CString::new(text.replace('\0', "\u{fffd}"));
    Ok((convert(target)?, convert(message)?))
}
