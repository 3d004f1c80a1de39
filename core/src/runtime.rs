//! The engine's thread, its clock, and its shutdown.
//!
//! All state that belongs to one process (the runtime, HTTP clients, locks) is held by a [`PerProcess`]. A forked child
//! never locks, polls or drops the state of its parent: it leaks that state and creates its own.

mod clock;
mod fork;
mod pending;

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

pub use clock::Now;
pub(crate) use clock::now;
pub(crate) use fork::{ForkShared, generation};
pub use fork::{PerProcess, without_fork};
use once_cell::race::OnceBox;
pub use pending::Pending;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// A boxed future, as async traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The generation in which [`shutdown`] was called; 0 before that.
static SHUT_DOWN_IN: AtomicU64 = AtomicU64::new(0);

/// Locks, and ignores a panic of an earlier holder: all state behind these locks is consistent between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Returns a number from the operating system that differs between processes and calls.
pub(crate) fn random_seed() -> u64 {
    use rustls::crypto::ring::default_provider;
    let mut bytes = [0u8; 8];
    match default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // The number only spreads the refreshes of many processes, so a process id and a clock are sufficient.
        Err(_) => (u64::from(std::process::id()) << 32) ^ (now().wall_ms as u64),
    }
}

thread_local! {
    static ON_ENGINE: Cell<bool> = const { Cell::new(false) };
}

struct Engine {
    handle: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

static ENGINE: PerProcess<Mutex<Option<Engine>>> = PerProcess::new();

/// Returns whether [`shutdown`] was called in this process.
pub(crate) fn is_shutting_down() -> bool {
    SHUT_DOWN_IN.load(Ordering::Relaxed) == generation()
}

fn shutting_down() -> Error {
    Error::new(ErrorKind::ShuttingDown, "the process is ending and fetches no more tokens")
}

/// Returns a handle of the engine's runtime. The first call starts the engine's thread.
fn handle() -> Result<tokio::runtime::Handle> {
    let mut engine = lock(ENGINE.get(|| Mutex::new(None)));
    // This is checked under the lock that `shutdown` takes after it has set the flag, so that no engine starts after
    // that.
    if is_shutting_down() {
        return Err(shutting_down());
    }
    if let Some(engine) = &*engine {
        return Ok(engine.handle.clone());
    }
    let failed = |e: std::io::Error| Error::new(ErrorKind::Internal, format!("the engine's thread cannot start: {e}"));
    // tokio creates the standard library's handle of this thread, which leak checkers find by this copy only: the thread
    // itself points into the middle of the block.
    static STARTER: OnceBox<Thread> = OnceBox::new();
    let _ = STARTER.set(Box::new(std::thread::current()));
    let built = without_fork(|| tokio::runtime::Builder::new_current_thread().enable_all().build());
    let runtime = built.map_err(failed)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let ends = Arc::clone(&ended);
    let thread = start_thread("pgentra", move || {
        ON_ENGINE.set(true);
        // An error means that the engine was dropped, which ends it as well.
        let _ = runtime.block_on(stopped);
        drop(runtime);
        *lock(&ends.0) = true;
        ends.1.notify_all();
    })
    .map_err(failed)?;
    *engine = Some(Engine { handle: handle.clone(), stop: Some(stop), ended, thread });
    Ok(handle)
}

/// Starts a thread with all signals blocked, because the application's handlers must run on the application's own
/// threads. Every native thread of the engine and of a binding is started here.
///
/// # Errors
/// The operating system's error.
pub fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    #[cfg(unix)]
    let _inherited = BlockedSignals::new();
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Blocks signals for this thread, and for threads that it starts, until this value is dropped.
#[cfg(unix)]
struct BlockedSignals {
    before: libc::sigset_t,
}

#[cfg(unix)]
impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: the set is initialised by sigfillset before it is read, the one before by pthread_sigmask, and only
        // this thread's mask changes.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            // Fault signals must reach their handler on the thread that caused them.
            for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP] {
                libc::sigdelset(&mut all, fault);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
            BlockedSignals { before }
        }
    }
}

#[cfg(unix)]
impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was this thread's mask, and only that changes.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Runs a future on the engine's thread.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    handle()?.spawn(future);
    Ok(())
}

/// Stops the background work of this process, and waits at most 1 s. Later calls that need a fetch fail with
/// `shutting_down`. A binding calls this when the application begins to exit.
pub fn shutdown() {
    SHUT_DOWN_IN.store(generation(), Ordering::Relaxed);
    let Some(mut engine) = lock(ENGINE.get(|| Mutex::new(None))).take() else { return };
    if let Some(stop) = engine.stop.take() {
        // The engine can have ended by itself.
        let _ = stop.send(());
    }
    if ON_ENGINE.get() {
        return;
    }
    let (ended, changed) = &*engine.ended;
    let waited = changed.wait_timeout_while(lock(ended), Duration::from_secs(1), |ended| !*ended);
    if waited.is_ok_and(|(ended, _)| *ended) {
        // The thread ends at once. This call frees its stack.
        let _ = engine.thread.join();
    }
}

/// Returns the error for work that ended without a result.
pub(crate) fn lost_work() -> Error {
    match is_shutting_down() {
        true => shutting_down(),
        false => Error::new(ErrorKind::Internal, "a task of the engine panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn start_thread_blocks_signals_only_in_the_new_thread() {
        fn is_blocked(signal: i32) -> bool {
            // SAFETY: the set is filled by pthread_sigmask, which changes nothing without a new one, before it is read.
            unsafe {
                let mut now: libc::sigset_t = std::mem::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut now);
                libc::sigismember(&now, signal) == 1
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let look = || (is_blocked(libc::SIGTERM), is_blocked(libc::SIGSEGV));
        start_thread("looks", move || sender.send(look()).expect("a receiver")).expect("starts");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok((true, false)));
        assert_eq!(look(), (false, false));
    }
}
