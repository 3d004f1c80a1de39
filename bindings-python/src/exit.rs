//! The end of the process. Python ends a thread that attaches after that by unwinding it, which must not happen in the
//! middle of our frames: when the interpreter goes, none of our threads, and no thread inside a call of ours, may be
//! about to attach.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use pgentra::PerProcess;
use pyo3::{exceptions::PyImportError, ffi, marker::Ungil, prelude::*};

use crate::dispatcher::{COMPLETIONS, EVENTS};

/// The longest that [`shutdown`] waits.
const FAREWELL: Duration = Duration::from_secs(1);

/// The process in which [`shutdown`] has begun; a forked child is another one.
static ENDING_IN: AtomicU32 = AtomicU32::new(0);

/// The process in which it is done.
static OVER_IN: AtomicU32 = AtomicU32::new(0);

/// Threads that are detached inside a call of ours and will attach again. A fork takes none of them along.
static DETACHED: PerProcess<AtomicUsize> = PerProcess::new();

/// Whether the interpreter of this process may be gone.
pub fn is_over() -> bool {
    OVER_IN.load(Ordering::SeqCst) == std::process::id()
}

/// Runs `work` detached. Once the process is ending, attached: nothing blocks then, since the engine refuses all work.
pub fn detached<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    struct Mark<'a>(&'a AtomicUsize);
    impl Drop for Mark<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    // Counted first: either `shutdown` sees the count, or this thread sees that it has begun.
    let mark = Mark(DETACHED.get(AtomicUsize::default));
    mark.0.fetch_add(1, Ordering::SeqCst);
    if ENDING_IN.load(Ordering::SeqCst) == std::process::id() { work() } else { py.detach(work) }
}

/// Fails where this is not the process's main interpreter. All that is above is the process's: one engine, whose threads
/// attach to the main interpreter. One of several could end it for all, and errors would be of another one's classes.
pub fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    // SAFETY: this thread is attached, so there is a current interpreter, which lives as long as that.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match id {
        0 => Ok(()),
        -1 => Err(PyErr::fetch(py)),
        _ => Err(PyImportError::new_err(
            "pgentra runs in the main interpreter of a process only, and this is a subinterpreter. Under mod_wsgi: \
             `WSGIApplicationGroup %{GLOBAL}`",
        )),
    }
}

/// Ends the engine and every thread of ours, in 1 s at most.
#[pyfunction]
pub fn shutdown(py: Python<'_>) {
    ENDING_IN.store(std::process::id(), Ordering::SeqCst);
    py.detach(|| {
        let deadline = Instant::now() + FAREWELL;
        // Every wait fails with it.
        pgentra::shutdown();
        COMPLETIONS.stop(deadline);
        EVENTS.stop(deadline);
        OVER_IN.store(std::process::id(), Ordering::SeqCst);
        while DETACHED.peek().is_some_and(|count| count.load(Ordering::SeqCst) > 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
