//! A pending result, with which the engine's thread passes results to callers.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{ON_ENGINE, generation, lock, lost_work, spawn};
use crate::error::{Error, ErrorKind, Result};

/// A pending result. Dropping it ends the wait, but not the work.
///
/// All entry points use it: block on it with [`wait`](Self::wait), await it on any executor, or pass it a callback.
pub struct Pending<T>(Arc<Slot<T>>);

struct Slot<T> {
    state: Mutex<SlotState<T>>,
    changed: Condvar,
    generation: u64,
}

enum SlotState<T> {
    Waiting(Option<Waker>),
    Callback(Box<dyn FnOnce(Result<T>) + Send>),
    Done(Option<Result<T>>),
}

impl<T: Send + 'static> Pending<T> {
    /// Starts `work` on the engine. A panic in it becomes an error of kind `internal`.
    pub(crate) fn start(work: impl Future<Output = Result<T>> + Send + 'static) -> Pending<T> {
        let slot = Arc::new(Slot {
            state: Mutex::new(SlotState::Waiting(None)),
            changed: Condvar::new(),
            generation: generation(),
        });
        let completion = Completion(Arc::clone(&slot));
        if let Err(error) = spawn(async move {
            let outcome = work.await;
            completion.0.complete(outcome);
        }) {
            slot.complete(Err(error));
        }
        Pending(slot)
    }

    /// Returns a result that is already complete.
    pub(crate) fn ready(outcome: Result<T>) -> Pending<T> {
        Pending(Arc::new(Slot {
            state: Mutex::new(SlotState::Done(Some(outcome))),
            changed: Condvar::new(),
            generation: generation(),
        }))
    }

    /// Blocks at most `limit`. Returns `None` when that passed; it can then be called again. On the engine's own
    /// thread, and in a child that was forked while waiting, it fails at once.
    pub fn wait(&self, limit: Duration) -> Option<Result<T>> {
        let slot = &*self.0;
        if slot.generation != generation() {
            return Some(Err(Error::new(ErrorKind::Cancelled, "the process forked during the wait")));
        }
        let mut state = lock(&slot.state);
        if matches!(&*state, SlotState::Waiting(_)) {
            if ON_ENGINE.get() {
                return Some(Err(Error::new(
                    ErrorKind::WouldDeadlock,
                    "a blocking call was made on the engine's own thread",
                )));
            }
            state = match slot.changed.wait_timeout_while(state, limit, |s| matches!(s, SlotState::Waiting(_))) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        match &mut *state {
            SlotState::Done(outcome) => Some(outcome.take().unwrap_or_else(|| Err(taken()))),
            _ => None,
        }
    }

    /// Blocks until the result is complete. The work has its own time limit.
    pub(crate) fn join(&self) -> Result<T> {
        loop {
            if let Some(outcome) = self.wait(Duration::from_secs(60)) {
                return outcome;
            }
        }
    }

    /// Calls `callback` once with the result: on this thread if the result is already complete, otherwise on the
    /// engine's thread, which the callback must not block.
    pub fn on_done(self, callback: impl FnOnce(Result<T>) + Send + 'static) {
        let mut state = lock(&self.0.state);
        match &mut *state {
            SlotState::Done(outcome) => {
                let outcome = outcome.take().unwrap_or_else(|| Err(taken()));
                drop(state);
                callback(outcome);
            }
            _ => *state = SlotState::Callback(Box::new(callback)),
        }
    }
}

fn taken() -> Error {
    Error::new(ErrorKind::Internal, "the result was already taken")
}

impl<T> Slot<T> {
    fn complete(&self, outcome: Result<T>) {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, SlotState::Done(None)) {
            SlotState::Done(first) => *state = SlotState::Done(first),
            SlotState::Waiting(waker) => {
                *state = SlotState::Done(Some(outcome));
                drop(state);
                self.changed.notify_all();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            SlotState::Callback(callback) => {
                drop(state);
                callback(outcome);
            }
        }
    }
}

/// Completes its slot even if the work panicked or the engine ended.
struct Completion<T>(Arc<Slot<T>>);

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        self.0.complete(Err(lost_work()));
    }
}

impl<T: Send + 'static> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = lock(&self.0.state);
        match &mut *state {
            SlotState::Done(outcome) => Poll::Ready(outcome.take().unwrap_or_else(|| Err(taken()))),
            other => {
                *other = SlotState::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_of_work_that_panics_is_an_internal_error() {
        let pending = Pending::<()>::start(async { panic!("canary") });
        let error = pending.wait(Duration::from_secs(10)).expect("ends").expect_err("fails");
        assert_eq!(error.kind(), ErrorKind::Internal);
        let pending = Pending::start(async { Ok(7) });
        assert_eq!(pending.wait(Duration::from_secs(10)).expect("ends").expect("works"), 7);
    }

    #[test]
    fn pending_callback_after_a_panic_is_called_once() {
        let (sender, receiver) = std::sync::mpsc::channel();
        Pending::<()>::start(async { panic!("canary") }).on_done(move |outcome| {
            let _ = sender.send(outcome.map_err(|e| e.kind()));
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(Err(ErrorKind::Internal)));
        assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err());
    }
}
