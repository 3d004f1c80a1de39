//! The engine's thread, its clock, and what happens at fork and at exit.
//!
//! Everything that belongs to one process (the runtime, HTTP clients, locks) hangs off a [`PerProcess`]. A forked child
//! never locks, polls or drops what its parent had: it leaks that and makes its own.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use arc_swap::ArcSwap;
use once_cell::race::OnceBox;
use tokio::sync::oneshot;

use crate::{
    cell::Now,
    error::{Error, ErrorKind, Result},
};

/// Counts the forks that led to this process; a value made under another number belongs to an ancestor.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// The generation in which [`shutdown`] was called, 0 for none.
static SHUT_DOWN_IN: AtomicU64 = AtomicU64::new(0);

#[cfg(unix)]
fn watch_forks() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    extern "C" fn before() {
        FORKS.fetch_add(1, Ordering::SeqCst);
        for _ in 0..MOST_PAUSES {
            if UNDIVIDED.load(Ordering::SeqCst) == 0 {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    extern "C" fn in_parent() {
        FORKS.fetch_sub(1, Ordering::SeqCst);
    }
    extern "C" fn in_child() {
        FORKS.store(0, Ordering::SeqCst);
        UNDIVIDED.store(0, Ordering::SeqCst);
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // Marked only when it is done, or a fork in between would go unseen; where two threads register it, a child counts
    // two, which is as good.
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handlers touch atomics and sleep, which is safe around a fork; the library that holds them is never
        // unmapped.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
}

/// Forks under way, and threads inside [`undivided`].
static FORKS: AtomicUsize = AtomicUsize::new(0);
static UNDIVIDED: AtomicUsize = AtomicUsize::new(0);

/// How long a fork and undivided work wait for each other between two looks, and how often they look at most: 1 s.
const PAUSE: Duration = Duration::from_micros(100);
const MOST_PAUSES: usize = 10_000;

/// Runs short work in which no fork may happen: what a library sets up once for a process (tokio its registry of signals)
/// would stay half made in a child for ever, and keep it waiting.
fn undivided<T>(work: impl FnOnce() -> T) -> T {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            UNDIVIDED.fetch_sub(1, Ordering::SeqCst);
        }
    }
    watch_forks();
    for _ in 0..MOST_PAUSES {
        UNDIVIDED.fetch_add(1, Ordering::SeqCst);
        if FORKS.load(Ordering::SeqCst) == 0 {
            let _inside = Inside;
            return work();
        }
        drop(Inside);
        std::thread::sleep(PAUSE);
    }
    work()
}

#[cfg(not(unix))]
fn watch_forks() {}

/// The number of this process among its forebears.
#[inline]
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// A value of which each process has its own.
pub struct PerProcess<T>(AtomicPtr<Tagged<T>>);

struct Tagged<T> {
    generation: u64,
    value: T,
}

impl<T> PerProcess<T> {
    /// Empty: the value is made at the first [`get`](Self::get) in each process.
    pub const fn new() -> Self {
        PerProcess(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// This process's value. `make` must be quick; it may run on two threads at once, and one result is dropped.
    pub fn get(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.peek() {
            return value;
        }
        watch_forks();
        let old = self.0.load(Ordering::Acquire);
        let made = Box::into_raw(Box::new(Tagged { generation: generation(), value: make() }));
        match self.0.compare_exchange(old, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `made` came from Box::into_raw and is now owned by `self`, which frees it only in Drop. The value
            // replaced is null or an ancestor's, which is leaked on purpose.
            Ok(_) => unsafe { &(*made).value },
            Err(theirs) => {
                // SAFETY: the exchange failed, so nobody else has seen `made`; `theirs` is non-null (only non-null
                // pointers are stored) and owned by `self`.
                unsafe {
                    drop(Box::from_raw(made));
                    &(*theirs).value
                }
            }
        }
    }

    /// This process's value, if it has been made.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        let pointer = self.0.load(Ordering::Acquire);
        // SAFETY: a stored pointer is null or stays valid until `self` is dropped.
        unsafe { pointer.as_ref() }.filter(|tagged| tagged.generation == generation()).map(|tagged| &tagged.value)
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let pointer = *self.0.get_mut();
        // SAFETY: a stored pointer came from Box::into_raw and is owned by `self` alone. An ancestor's value is leaked.
        unsafe {
            if pointer.as_ref().is_some_and(|tagged| tagged.generation == generation()) {
                drop(Box::from_raw(pointer));
            }
        }
    }
}

// SAFETY: `PerProcess<T>` hands out `&T` to any thread and drops T wherever it is dropped itself, as a `OnceLock<T>` does.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for PerProcess<T> {}

/// What a forked child reads as its parent left it, without a lock. It is copied on write, and made by whoever comes
/// first without keeping others waiting: a child forked in the middle would wait for ever.
pub(crate) struct Inherited<T>(OnceBox<ArcSwap<T>>);

impl<T: Default> Inherited<T> {
    pub(crate) const fn new() -> Self {
        Inherited(OnceBox::new())
    }
}

impl<T: Default> std::ops::Deref for Inherited<T> {
    type Target = ArcSwap<T>;

    fn deref(&self) -> &ArcSwap<T> {
        self.0.get_or_init(Box::default)
    }
}

/// Locks, ignoring that another holder panicked: every state behind our locks is whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// This moment by both clocks. The coarse clocks (a few milliseconds) cost a tenth of the exact ones.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn now() -> Now {
    fn read(clock: libc::clockid_t) -> i64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec; both clocks exist since Linux 2.6.32.
        unsafe { libc::clock_gettime(clock, &mut time) };
        #[allow(clippy::useless_conversion, reason = "the fields are narrower on 32-bit targets")]
        let (seconds, nanoseconds) = (i64::from(time.tv_sec), i64::from(time.tv_nsec));
        seconds * 1000 + nanoseconds / 1_000_000
    }
    Now { wall_ms: read(libc::CLOCK_REALTIME_COARSE), mono_ms: read(libc::CLOCK_MONOTONIC_COARSE) }
}

/// This moment by both clocks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn now() -> Now {
    use std::{
        sync::OnceLock,
        time::{Instant, SystemTime, UNIX_EPOCH},
    };
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Now { wall_ms: wall, mono_ms: ORIGIN.get_or_init(Instant::now).elapsed().as_millis() as i64 }
}

/// A number that differs between processes and calls, from the operating system.
pub(crate) fn random_seed() -> u64 {
    use rustls::crypto::ring::default_provider;
    let mut bytes = [0u8; 8];
    match default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // Only the spread of a fleet depends on it, so a process id and a clock do.
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
}

static ENGINE: PerProcess<Mutex<Option<Engine>>> = PerProcess::new();

/// Whether [`shutdown`] was called in this process.
pub(crate) fn is_shutting_down() -> bool {
    SHUT_DOWN_IN.load(Ordering::Relaxed) == generation()
}

fn shutting_down() -> Error {
    Error::new(ErrorKind::ShuttingDown, "the process is ending, no token is fetched any more")
}

/// Starts the engine's thread at the first call.
fn handle() -> Result<tokio::runtime::Handle> {
    let mut engine = lock(ENGINE.get(|| Mutex::new(None)));
    // Under the lock that `shutdown` takes after it has said so: no engine starts behind its back.
    if is_shutting_down() {
        return Err(shutting_down());
    }
    if let Some(engine) = &*engine {
        return Ok(engine.handle.clone());
    }
    let failed = |e: std::io::Error| Error::new(ErrorKind::Internal, format!("the engine's thread cannot start: {e}"));
    let built = undivided(|| tokio::runtime::Builder::new_current_thread().enable_all().build());
    let runtime = built.map_err(failed)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let ends = Arc::clone(&ended);
    start_thread("pgentra", move || {
        ON_ENGINE.set(true);
        // An error means that the engine was dropped, which ends it as well.
        let _ = runtime.block_on(stopped);
        drop(runtime);
        *lock(&ends.0) = true;
        ends.1.notify_all();
    })
    .map_err(failed)?;
    *engine = Some(Engine { handle: handle.clone(), stop: Some(stop), ended });
    Ok(handle)
}

/// Starts a thread that no signal ever reaches: a host's handlers must run on the host's own threads. Every native
/// thread of the engine and of a binding is started here.
///
/// # Errors
/// The operating system's.
pub fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    #[cfg(unix)]
    let _inherited = BlockedSignals::new();
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Signals are kept from this thread, and from those it starts, until this is dropped.
#[cfg(unix)]
struct BlockedSignals {
    before: libc::sigset_t,
}

#[cfg(unix)]
impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: the set is initialised by sigfillset before it is read, the one before by pthread_sigmask, and only this
        // thread's mask changes.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            // Faults must reach their handler on the thread that caused them.
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

/// Stops the background work of this process, waiting at most 1 s. Calls that need a fetch fail with `shutting_down`
/// from now on. A binding calls it when its host begins to exit.
pub fn shutdown() {
    SHUT_DOWN_IN.store(generation(), Ordering::Relaxed);
    let Some(mut engine) = lock(ENGINE.get(|| Mutex::new(None))).take() else { return };
    if let Some(stop) = engine.stop.take() {
        // It may have ended by itself.
        let _ = stop.send(());
    }
    if ON_ENGINE.get() {
        return;
    }
    let (ended, changed) = &*engine.ended;
    let _ = changed.wait_timeout_while(lock(ended), Duration::from_secs(1), |ended| !*ended);
}

/// A result under way. Dropping it gives up the wait, never the work.
///
/// One primitive for every door: block on it with [`wait`](Self::wait), await it on any executor, or hand it a callback.
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

    /// A result already there.
    pub(crate) fn ready(outcome: Result<T>) -> Pending<T> {
        Pending(Arc::new(Slot {
            state: Mutex::new(SlotState::Done(Some(outcome))),
            changed: Condvar::new(),
            generation: generation(),
        }))
    }

    /// Blocks at most `limit`; `None` when that passed, and it may be called again. On the engine's own thread, and in a
    /// child forked while waiting, it fails at once.
    pub fn wait(&self, limit: Duration) -> Option<Result<T>> {
        let slot = &*self.0;
        if slot.generation != generation() {
            return Some(Err(Error::new(ErrorKind::Cancelled, "the process forked during the wait")));
        }
        let mut state = lock(&slot.state);
        if matches!(&*state, SlotState::Waiting(_)) {
            if ON_ENGINE.get() {
                return Some(Err(Error::new(ErrorKind::WouldDeadlock, "a blocking call on the engine's own thread")));
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

    /// Blocks until the result is there; the work has a time limit of its own.
    pub(crate) fn join(&self) -> Result<T> {
        loop {
            if let Some(outcome) = self.wait(Duration::from_secs(60)) {
                return outcome;
            }
        }
    }

    /// Calls `callback` once with the result: here, if it is there already, else on the engine's thread, which it must
    /// not block.
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
    Error::new(ErrorKind::Internal, "the result was taken before")
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

/// Completes its slot also when the work panicked or the engine ended.
struct Completion<T>(Arc<Slot<T>>);

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        self.0.complete(Err(lost_work()));
    }
}

/// Why work ended without a word.
pub(crate) fn lost_work() -> Error {
    match is_shutting_down() {
        true => shutting_down(),
        false => Error::new(ErrorKind::Internal, "a task of the engine panicked"),
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
    fn a_panic_becomes_an_error_and_the_engine_goes_on() {
        let pending = Pending::<()>::start(async { panic!("planted") });
        let error = pending.wait(Duration::from_secs(10)).expect("ends").expect_err("fails");
        assert_eq!(error.kind(), ErrorKind::Internal);
        let pending = Pending::start(async { Ok(7) });
        assert_eq!(pending.wait(Duration::from_secs(10)).expect("ends").expect("works"), 7);
    }

    #[test]
    fn a_callback_is_called_once_even_after_a_panic() {
        let (sender, receiver) = std::sync::mpsc::channel();
        Pending::<()>::start(async { panic!("planted") }).on_done(move |outcome| {
            let _ = sender.send(outcome.map_err(|e| e.kind()));
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(Err(ErrorKind::Internal)));
        assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err());
    }
    #[cfg(unix)]
    #[test]
    fn no_signal_reaches_a_thread_of_ours_and_all_reach_its_starter() {
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
        start_thread("looks", move || sender.send(look()).expect("somebody listens")).expect("starts");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok((true, false)));
        assert_eq!(look(), (false, false));
    }
}
