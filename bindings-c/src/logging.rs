//! Log events, which are passed to one function of the application, or kept until the application takes them.

use std::{
    collections::VecDeque,
    ffi::{CString, NulError, c_char, c_void},
    ptr,
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
    ffi::{Output, invalid_argument, status},
    string::CountedString,
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
    receiver: Receiver,
}

enum Receiver {
    Callback { callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char), user_data: Finalized },
    Queue,
}

/// The events that wait for pgentra_log_next(), the oldest first. A forked child starts without any.
static QUEUE: PerProcess<Mutex<VecDeque<QueuedEvent>>> = PerProcess::new();

/// Beyond this number the oldest events are dropped.
const QUEUE_LIMIT: usize = 1000;

struct QueuedEvent {
    level: i32,
    target: String,
    message: String,
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
        check(level)?;
        replace(callback.map(|callback| {
            let user_data = Finalized { user_data: UserData(user_data), finalizer, pool: &EVENTS };
            Listener { level, receiver: Receiver::Callback { callback, user_data } }
        }));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_set_log_callback", error, work) }
}

/// Keeps events of `level` (one of PGENTRA_LOG_*) and of more severe levels until pgentra_log_next() returns them: for languages
/// in which no function may be called on a thread of the library. At most 1,000 events are kept; the oldest are dropped first.
/// It replaces the callback of pgentra_set_log_callback(), which in turn replaces the queue. PGENTRA_LOG_OFF ends it.
///
/// @ownership nothing is kept. @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_set_log_queue(level: i32, error: *mut *mut pgentra_error) -> i32 {
    let work = || {
        check(level)?;
        replace((level != PGENTRA_LOG_OFF).then_some(Listener { level, receiver: Receiver::Queue }));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_set_log_queue", error, work) }
}

/// Returns the oldest event that pgentra_set_log_queue() keeps, and removes it. Never blocks. `*message` and `*target` become NULL
/// and `*level` PGENTRA_LOG_OFF if there is no event. `level` and `target` may be NULL.
///
/// @ownership `*target` and `*message` are the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `level`, `target`, `message` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_log_next(
    level: *mut i32,
    target: *mut *const c_char,
    message: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (level, target, message) = unsafe {
            (Output::optional("level", level)?, Output::optional("target", target)?, Output::new("message", message)?)
        };
        let next = QUEUE.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let text = |text: Option<&str>| text.map_or(ptr::null(), |text| CountedString::new(text).into_raw());
        if let Some(level) = level {
            level.write(next.as_ref().map_or(PGENTRA_LOG_OFF, |event| event.level));
        }
        if let Some(target) = target {
            target.write(text(next.as_ref().map(|event| event.target.as_str())));
        }
        message.write(text(next.as_ref().map(|event| event.message.as_str())));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_log_next", error, work) }
}

fn check(level: i32) -> pgentra::Result<()> {
    match (PGENTRA_LOG_OFF..=PGENTRA_LOG_DEBUG).contains(&level) {
        true => Ok(()),
        false => Err(invalid_argument("level", "is not one of PGENTRA_LOG_*")),
    }
}

/// Replaces the receiver of events. A replaced one is finalized when its last event is passed.
fn replace(listener: Option<Listener>) {
    let listener = listener.map(Arc::new);
    if listener.is_some() {
        start();
    }
    let replaced = {
        let mut block = LISTENER_BLOCK.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        LISTENER.store(listener.clone());
        std::mem::replace(&mut *block, listener)
    };
    drop(replaced);
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
        if let Receiver::Queue = listener.receiver {
            let mut queue = QUEUE.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() == QUEUE_LIMIT {
                queue.pop_front();
            }
            queue.push_back(QueuedEvent { level, target: event.target.to_owned(), message: event.message.to_owned() });
            return;
        }
        let Ok((target, message)) = c_strings(event.target, event.message) else { return };
        EVENTS.run(move || {
            let Receiver::Callback { callback, user_data } = &listener.receiver else { return };
            // SAFETY: the application allows these calls until its finalizer is called, which `listener` prevents.
            unsafe { callback(user_data.user_data.0, level, target.as_ptr(), message.as_ptr()) }
        });
    });
}

fn c_strings(target: &str, message: &str) -> Result<(CString, CString), NulError> {
    let convert = |text: &str| CString::new(text.replace('\0', "\u{fffd}"));
    Ok((convert(target)?, convert(message)?))
}
