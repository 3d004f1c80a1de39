//! Values that belong to one process, and work that a fork must not interrupt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use once_cell::race::OnceBox;

/// Counts the forks that led to this process. A value made under another number belongs to an ancestor.
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
    // The flag is set only after the registration, otherwise a fork in between would be missed. If two threads
    // register, a child counts two forks, which has the same effect.
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handlers touch atomics and sleep, which is safe around a fork; the library that holds them is never
        // unmapped.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
}

/// The number of forks in progress and of threads inside [`without_fork`].
static FORKS: AtomicUsize = AtomicUsize::new(0);
static WITHOUT_FORK: AtomicUsize = AtomicUsize::new(0);

/// The pause between two checks while a fork and such work wait for each other, and the maximum number of checks: 1 s
/// in total.
const PAUSE: Duration = Duration::from_micros(100);
const MOST_PAUSES: usize = 10_000;

/// Runs short work during which no fork can happen. A structure that a library is setting up (tokio's registry of
/// signals, Python's state of a thread) would stay incomplete in a child, and the child would wait for it for ever. The
/// work must not wait for a thread that can fork.
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

/// Returns the number of this process among its ancestors.
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
    /// Creates an empty value. Each process makes its value at the first [`get`](Self::get).
    pub const fn new() -> Self {
        PerProcess(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Returns this process's value. `make` must be quick. It can run on two threads at once; one result is then
    /// dropped.
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
                // SAFETY: the exchange failed, so no other thread has seen `made`; `theirs` is non-null (only non-null
                // pointers are stored) and owned by `self`.
                unsafe {
                    drop(Box::from_raw(made));
                    &(*theirs).value
                }
            }
        }
    }

    /// Returns this process's value, if it exists.
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

/// A value that a forked child reads without a lock as its parent left it. It is copied on write. If two threads need
/// it first, both make it and neither waits: a child that was forked during a wait would wait for ever.
pub(crate) struct ForkShared<T> {
    value: OnceBox<ArcSwap<T>>,
    /// The value after [`clear`](Self::clear). A leak checker follows this pointer, which is to the start of the
    /// block, and not the one of `value`.
    empty: OnceBox<Arc<T>>,
}

impl<T: Default> ForkShared<T> {
    pub(crate) const fn new() -> Self {
        ForkShared { value: OnceBox::new(), empty: OnceBox::new() }
    }

    /// Drops the value, at the end of the process.
    pub(crate) fn clear(&self) {
        if let Some(value) = self.value.get() {
            value.store(Arc::clone(self.empty.get_or_init(Box::default)));
        }
    }
}

impl<T: Default> std::ops::Deref for ForkShared<T> {
    type Target = ArcSwap<T>;

    fn deref(&self) -> &ArcSwap<T> {
        self.value.get_or_init(Box::default)
    }
}
