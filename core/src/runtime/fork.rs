//! What belongs to one process, and what a fork may not divide.

use std::{
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use once_cell::race::OnceBox;

/// Counts the forks that led to this process; a value made under another number belongs to an ancestor.
static GENERATION: AtomicU64 = AtomicU64::new(1);

#[cfg(unix)]
fn watch_forks() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    extern "C" fn before() {
        FORKS.fetch_add(1, Ordering::SeqCst);
        for _ in 0..MOST_PAUSES {
            if WITHOUT_FORK.load(Ordering::SeqCst) == 0 {
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
        WITHOUT_FORK.store(0, Ordering::SeqCst);
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

/// Forks under way, and threads inside [`without_fork`].
static FORKS: AtomicUsize = AtomicUsize::new(0);
static WITHOUT_FORK: AtomicUsize = AtomicUsize::new(0);

/// How long a fork and such work wait for each other between two looks, and how often they look at most: 1 s.
const PAUSE: Duration = Duration::from_micros(100);
const MOST_PAUSES: usize = 10_000;

/// Runs short work in which no fork may happen: what a library sets up (tokio its registry of signals, Python a thread's
/// state) would stay half made in a child for ever, and keep it waiting. The work must not wait for whoever may fork.
pub fn without_fork<T>(work: impl FnOnce() -> T) -> T {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            WITHOUT_FORK.fetch_sub(1, Ordering::SeqCst);
        }
    }
    watch_forks();
    for _ in 0..MOST_PAUSES {
        WITHOUT_FORK.fetch_add(1, Ordering::SeqCst);
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
pub(crate) struct ForkShared<T>(OnceBox<ArcSwap<T>>);

impl<T: Default> ForkShared<T> {
    pub(crate) const fn new() -> Self {
        ForkShared(OnceBox::new())
    }
}

impl<T: Default> std::ops::Deref for ForkShared<T> {
    type Target = ArcSwap<T>;

    fn deref(&self) -> &ArcSwap<T> {
        self.0.get_or_init(Box::default)
    }
}
