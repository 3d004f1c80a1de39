//! The threads on which the engine reaches Python, what they may be handed, and their end.
//!
//! The engine's own thread never attaches: it would stand still while Python code runs. It leaves a job with a
//! dispatcher, which attaches, if the interpreter is there, and runs it.

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

use crate::exit::{is_over, release};

/// Results of the engine and questions to the program's credentials. Its jobs never block.
pub static COMPLETIONS: Dispatcher = Dispatcher::new("pgentra-python");

/// Events. A logging handler may block.
pub static EVENTS: Dispatcher = Dispatcher::new("pgentra-events");

/// What a dispatcher runs, attached.
type Job = Box<dyn FnOnce(Python<'_>) + Send>;

/// A thread for jobs, one after the other; one in each process, started when it is first needed.
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

    /// Leaves a job. At the end of the process it is never run, nor dropped: what it holds may need the interpreter.
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

    /// Ends the thread after the jobs left so far, waiting until `deadline`. Whether it has ended by then.
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
        let (jobs, mut arriving) = channel();
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let ends = Arc::clone(&ended);
        // Without a thread the channel is closed, and jobs are forgotten: callers end by their time limits.
        let _ = pgentra::bindings::start_thread(name, move || {
            run(&mut arriving);
            mem::forget(arriving);
            *ends.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ends.1.notify_all();
        });
        Thread { jobs, ended }
    }
}

fn run(arriving: &mut Receiver<Option<Job>>) {
    let _state = PythonState::new();
    Python::try_attach(|py| {
        loop {
            let arriving = &mut *arriving;
            let Ok(Some(job)) = py.detach(move || arriving.recv()) else { break };
            // The hook has told of the panic; the next job is somebody else's.
            let _ = catch_unwind(AssertUnwindSafe(|| job(py)));
        }
    });
}

/// This thread's state in Python, from its first to its last job. Left to itself, attaching makes one each time, under a
/// lock that Python 3.10's own fork handler waits for in the child: for ever, where it was taken.
struct PythonState;

impl PythonState {
    /// `None` where memory ends.
    fn new() -> Option<Self> {
        let interpreter = INTERPRETER.load(Ordering::Acquire);
        // SAFETY: no thread has to be attached for it, and the main interpreter goes after our threads only (exit.rs). Who
        // forks holds the GIL, which this does not wait for.
        let made = pgentra::bindings::without_fork(|| unsafe { ffi::PyThreadState_New(interpreter) });
        (!made.is_null()).then_some(PythonState)
    }
}

impl Drop for PythonState {
    fn drop(&mut self) {
        Python::try_attach(|_| {
            // SAFETY: attached, as it has to be. It takes back the one count with which the state was made, so that it is
            // freed as this attachment ends.
            unsafe { ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_LOCKED) };
        });
    }
}

/// The main interpreter, which is the only one (exit.rs).
static INTERPRETER: AtomicPtr<ffi::PyInterpreterState> = AtomicPtr::new(ptr::null_mut());

/// Remembers the interpreter, for threads that are not attached.
pub fn set_up(_attached: Python<'_>) {
    // SAFETY: this thread is attached, so there is a current interpreter.
    INTERPRETER.store(unsafe { ffi::PyInterpreterState_Get() }, Ordering::Release);
}

/// A Python object that may be dropped on any thread, attached or not.
pub struct Held(Option<Py<PyAny>>);

impl Held {
    /// Takes the object over.
    pub fn new(object: Py<PyAny>) -> Self {
        Held(Some(object))
    }

    /// The object.
    pub fn bind<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.0.as_ref().map(|object| object.bind(py))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            COMPLETIONS.send(move |py| release(py, object));
        }
    }
}
