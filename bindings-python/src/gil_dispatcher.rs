//! The threads on which the engine calls Python, and objects that any thread may drop.
//!
//! The engine's own thread never attaches to the interpreter: it would stop while Python code runs. It sends a job to a
//! dispatcher, whose thread attaches if the interpreter exists, and runs the job.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicPtr, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use pgentra::bindings::PerProcess;
use pyo3::{ffi, prelude::*};

use crate::finalize::{is_over, release};

/// Runs results of the engine and requests to custom credentials. Its jobs never block.
pub static COMPLETIONS: Dispatcher = Dispatcher::new("pgentra-python");

/// Runs log events. A logging handler may block.
pub static EVENTS: Dispatcher = Dispatcher::new("pgentra-events");

/// A function that a dispatcher runs attached.
type Job = Box<dyn FnOnce(Python<'_>) + Send>;

/// A thread that runs jobs one after the other. Each process has one, started by the first job.
pub struct Dispatcher {
    name: &'static str,
    thread: PerProcess<Thread>,
}

struct Thread {
    jobs: Sender<Option<Job>>,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

impl Dispatcher {
    const fn new(name: &'static str) -> Self {
        Dispatcher { name, thread: PerProcess::new() }
    }

    /// Sends a job to the thread. At the end of the process the job is neither run nor dropped, because dropping its
    /// objects may need the interpreter.
    pub fn send(&self, job: impl FnOnce(Python<'_>) + Send + 'static) {
        let job: Job = Box::new(job);
        if is_over() {
            mem::forget(job);
            return;
        }
        if let Err(unsent) = self.thread.get(|| Thread::start(self.name)).jobs.send(Some(job)) {
            mem::forget(unsent);
        }
    }

    /// Ends the thread after the jobs sent so far, waiting until `deadline`. Returns whether it has ended by then.
    pub fn stop(&self, deadline: Instant) -> bool {
        let Some(thread) = self.thread.peek() else { return true };
        if thread.jobs.send(None).is_err() {
            return true;
        }
        let (ended, changed) = &*thread.ended;
        let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let (ended, _) =
            changed.wait_timeout_while(ended, left, |ended| !*ended).unwrap_or_else(PoisonError::into_inner);
        *ended
    }
}

impl Thread {
    fn start(name: &str) -> Thread {
        let (jobs, mut receiver) = channel();
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let thread_ended = Arc::clone(&ended);
        // If the thread cannot start, the channel is closed and jobs are forgotten: callers end by their time limits.
        let _ = pgentra::bindings::start_thread(name, move || {
            run(&mut receiver);
            mem::forget(receiver);
            *thread_ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            thread_ended.1.notify_all();
        });
        Thread { jobs, ended }
    }
}

fn run(receiver: &mut Receiver<Option<Job>>) {
    let _state = PythonState::new();
    Python::try_attach(|py| {
        loop {
            let receiver = &mut *receiver;
            let Ok(Some(job)) = py.detach(move || receiver.recv()) else { break };
            // The panic hook has reported the panic; later jobs must still run.
            let _ = catch_unwind(AssertUnwindSafe(|| job(py)));
        }
    });
}

/// This thread's state in Python, from its first to its last job. Otherwise each attachment would create a state under
/// a lock. Python 3.10's fork handler waits for that lock in the child, forever if it was held during the fork.
struct PythonState;

impl PythonState {
    /// Returns `None` if memory is exhausted.
    fn new() -> Option<Self> {
        let interpreter = INTERPRETER.load(Ordering::Acquire);
        // SAFETY: the call needs no attached thread, and the main interpreter outlives the library's threads
        // (finalize.rs). A thread that forks holds the GIL, which this call does not wait for.
        let made = pgentra::bindings::without_fork(|| unsafe { ffi::PyThreadState_New(interpreter) });
        (!made.is_null()).then_some(PythonState)
    }
}

impl Drop for PythonState {
    fn drop(&mut self) {
        Python::try_attach(|_| {
            // SAFETY: the thread is attached, as required. The call takes back the one count with which the state was
            // made, so that the state is freed when this attachment ends.
            unsafe { ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_LOCKED) };
        });
    }
}

/// The main interpreter, the only one that can load this module (finalize.rs).
static INTERPRETER: AtomicPtr<ffi::PyInterpreterState> = AtomicPtr::new(ptr::null_mut());

/// Stores the interpreter, for threads that are not attached.
pub fn set_up(_attached: Python<'_>) {
    // SAFETY: this thread is attached, so there is a current interpreter.
    INTERPRETER.store(unsafe { ffi::PyInterpreterState_Get() }, Ordering::Release);
}

/// A Python object that any thread, attached or not, may drop. The reference is given up on the thread of
/// [`COMPLETIONS`].
pub struct DeferredDrop(Option<Py<PyAny>>);

impl DeferredDrop {
    /// Takes over the object.
    pub fn new(object: Py<PyAny>) -> Self {
        DeferredDrop(Some(object))
    }

    /// Returns the object.
    pub fn bind<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.0.as_ref().map(|object| object.bind(py))
    }
}

impl Drop for DeferredDrop {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            COMPLETIONS.send(move |py| release(py, object));
        }
    }
}
