//! The end of the process. Python ends a thread that attaches after that by unwinding it, which must not happen in the
//! middle of our frames: when the interpreter goes, none of our threads, and no thread inside a call of ours, may be
//! about to attach. A thread that runs Python code for longer than [`shutdown`] waits is suspended there: [`call`].

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use pgentra::bindings::PerProcess;
use pyo3::{
    exceptions::PyImportError,
    ffi,
    marker::Ungil,
    prelude::*,
    types::{PyString, PyTuple},
};

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

/// Before 3.14, Python ends a thread that asks for the interpreter after its end by `pthread_exit`. That unwinds the stack,
/// and Rust aborts the process where it finds a frame of PyO3. Where the innermost Rust frame is one of these functions, the
/// thread is suspended instead, as Python 3.14 does. On Windows the thread ends without unwinding.
mod unwinding {
    use pyo3::ffi;

    #[cfg(unix)]
    mod raw {
        use pyo3::ffi::PyObject;

        unsafe extern "C-unwind" {
            pub fn PyObject_CallObject(callable: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject;
            pub fn Py_DecRef(object: *mut PyObject);
        }
    }

    #[cfg(not(unix))]
    use pyo3::ffi as raw;

    struct Suspend;

    impl Drop for Suspend {
        fn drop(&mut self) {
            loop {
                std::thread::park();
            }
        }
    }

    /// # Safety
    /// As for [`ffi::PyObject_CallObject`].
    pub unsafe fn call(callable: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
        let suspend = Suspend;
        // SAFETY: as promised by the caller.
        let result = unsafe { raw::PyObject_CallObject(callable, arguments) };
        std::mem::forget(suspend);
        result
    }

    /// # Safety
    /// As for [`ffi::Py_DecRef`].
    pub unsafe fn release(object: *mut ffi::PyObject) {
        let suspend = Suspend;
        // SAFETY: as promised by the caller.
        unsafe { raw::Py_DecRef(object) };
        std::mem::forget(suspend);
    }
}

/// Calls Python code, which may still run when the interpreter ends. Every call from a thread that the process does not
/// wait for is made here.
///
/// # Errors
/// What the call raises.
pub fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    // SAFETY: this thread is attached, both are alive, and the result is a new reference, or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, unwinding::call(callable.as_ptr(), arguments.as_ptr())) }
}

/// As [`call`], of a method.
///
/// # Errors
/// What the call raises.
pub fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    call(&object.getattr(name)?, arguments)
}

/// Drops an object, which may run Python code.
pub fn release(_attached: Python<'_>, object: Py<PyAny>) {
    // SAFETY: this thread is attached, and the reference is given up here.
    unsafe { unwinding::release(object.into_ptr()) };
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

/// Ends the engine and every thread of ours, in 1 s at most. Whether all events have been passed on by then.
#[pyfunction]
pub fn shutdown(py: Python<'_>) -> bool {
    ENDING_IN.store(std::process::id(), Ordering::SeqCst);
    py.detach(|| {
        let deadline = Instant::now() + FAREWELL;
        // Every wait fails with it.
        pgentra::shutdown();
        COMPLETIONS.stop(deadline);
        let passed_on = EVENTS.stop(deadline);
        OVER_IN.store(std::process::id(), Ordering::SeqCst);
        while DETACHED.peek().is_some_and(|count| count.load(Ordering::SeqCst) > 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        passed_on
    })
}
