//! Blocking waits: their time limits, and the check that the thread may wait.

use std::{cell::RefCell, sync::Arc, time::Duration};

use pgentra::{Error, ErrorKind, Pending, Result};

thread_local! {
    /// The credentials with a callback that runs on this thread, the innermost last.
    static RUNNING: RefCell<Vec<CallbackId>> = const { RefCell::new(Vec::new()) };
}

/// Identifies a credential with a callback while it exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallbackId(usize);

impl CallbackId {
    /// Returns the id of the credential with this user data.
    pub fn of<T>(user_data: &Arc<T>) -> CallbackId {
        CallbackId(Arc::as_ptr(user_data).addr())
    }
}

/// Records that the callback of a credential runs on this thread, until this value is dropped.
pub struct RunningCallback(());

impl RunningCallback {
    pub fn new(callback: CallbackId) -> RunningCallback {
        RUNNING.with_borrow_mut(|running| running.push(callback));
        RunningCallback(())
    }
}

impl Drop for RunningCallback {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(Vec::pop);
    }
}

/// Fails if this thread is inside the callback of one of these credentials, which then could not respond.
pub fn check_deadlock(callbacks: &[CallbackId]) -> Result<()> {
    match RUNNING.with_borrow(|running| callbacks.iter().any(|callback| running.contains(callback))) {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::WouldDeadlock,
            "a blocking call inside the callback of the credential that must respond to it",
        )),
    }
}

/// Converts a limit in milliseconds. A negative number is no limit.
pub fn time_limit(milliseconds: i32) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

/// Blocks until the work has a result. The work has a time limit of its own.
pub fn wait<T: Send + 'static>(pending: &Pending<T>, callbacks: &[CallbackId]) -> Result<T> {
    if let Some(outcome) = pending.wait(Duration::ZERO) {
        return outcome;
    }
    check_deadlock(callbacks)?;
    loop {
        if let Some(outcome) = pending.wait(Duration::from_secs(60)) {
            return outcome;
        }
    }
}
