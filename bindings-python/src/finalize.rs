//! What threads may do while the interpreter finalizes. Python ends a thread that attaches after finalization by
//! unwinding its stack, which must not happen in the middle of Rust frames. When the interpreter is finalized, no
//! thread of the library, and no thread inside one of its calls, may be about to attach. A thread that runs Python code
//! for longer than `shutdown` waits is suspended instead: [`call`].

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

/// The id of the process in which `shutdown` has begun. A forked child has another id.
static ENDING_IN: AtomicU32 = AtomicU32::new(0);

/// The id of the process in which the library's threads no longer attach.
static OVER_IN: AtomicU32 = AtomicU32::new(0);

/// The number of threads that are detached inside a call of the library and will attach again. A fork copies none of
/// them.
static DETACHED: PerProcess<AtomicUsize> = PerProcess::new();

/// Marks the begin of `shutdown`. From now on [`detached`] stays attached.
pub fn begin() {
    ENDING_IN.store(std::process::id(), Ordering::SeqCst);
}

/// Marks the library's threads as ended, and waits until `deadline` for the threads that will attach again.
pub fn finish(deadline: Instant) {
    OVER_IN.store(std::process::id(), Ordering::SeqCst);
    while DETACHED.peek().is_some_and(|count| count.load(Ordering::SeqCst) > 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns whether the interpreter of this process may be finalized.
pub fn is_over() -> bool {
    OVER_IN.load(Ordering::SeqCst) == std::process::id()
}

/// Runs `work` detached from the interpreter. After [`begin`] it runs attached: `work` does not block then, because the
/// engine fails every request at once.
pub fn detached<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    struct Mark<'a>(&'a AtomicUsize);
    impl Drop for Mark<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    // The count comes first: either `finish` sees it, or this thread sees that the shutdown has begun.
    let mark = Mark(DETACHED.get(AtomicUsize::default));
    mark.0.fetch_add(1, Ordering::SeqCst);
    if ENDING_IN.load(Ordering::SeqCst) == std::process::id() { work() } else { py.detach(work) }
}

/// Calls during which the thread is suspended if Python ends it. Before 3.14, Python ends a thread that attaches after
/// finalization by `pthread_exit`, which unwinds the stack; Rust aborts the process when the unwinding reaches a frame
/// of PyO3. If the innermost Rust frame is one of these functions, the thread is suspended instead, as Python 3.14
/// does. On Windows the thread ends without unwinding.
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
        // SAFETY: guaranteed by the caller.
        let result = unsafe { raw::PyObject_CallObject(callable, arguments) };
        std::mem::forget(suspend);
        result
    }

    /// # Safety
    /// As for [`ffi::Py_DecRef`].
    pub unsafe fn release(object: *mut ffi::PyObject) {
        let suspend = Suspend;
        // SAFETY: guaranteed by the caller.
        unsafe { raw::Py_DecRef(object) };
        std::mem::forget(suspend);
    }
}

/// Calls Python code, which may still run when the interpreter is finalized. Threads that the process does not wait for
/// make every call here.
///
/// # Errors
/// The exception that the call raises.
pub fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    // SAFETY: this thread is attached, both objects are alive, and the result is a new reference, or NULL with an
    // exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, unwinding::call(callable.as_ptr(), arguments.as_ptr())) }
}

/// Calls a method, as [`call`] does.
///
/// # Errors
/// The exception that the call raises.
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

/// Fails in a subinterpreter. All state of this crate belongs to the process: there is one engine, whose threads attach
/// to the main interpreter. A subinterpreter could end that engine for the whole process, and its exceptions would be
/// instances of the main interpreter's classes.
///
/// # Errors
/// `ImportError` in a subinterpreter.
pub fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    // SAFETY: this thread is attached, so there is a current interpreter, which exists as long as the thread is
    // attached.
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
