//! The buffers of the relay. They exist only while bytes are forwarded, and each thread keeps some of them.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of a buffer at first.
pub(crate) const SMALL: usize = 16 << 10;

/// The size of a buffer for a direction whose reads fill it.
pub(crate) const LARGE: usize = 256 << 10;

/// How many buffers of each size a thread keeps. A task needs one while it runs, and more only for connections that
/// do not accept their bytes.
const KEPT_SMALL: usize = 16;
const KEPT_LARGE: usize = 2;

/// How many large buffers the process has at most: 16 MB. Without this limit, clients that do not read could make the
/// memory grow.
const MAX_LARGE: usize = 64;

static LARGE_BUFFERS: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Pool {
    small: Vec<Buffer>,
    large: Vec<Buffer>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A buffer. Its bytes are initialized.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    size: Size,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
    /// The buffer is not of this module.
    Other,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_boxed_slice(), size: Size::Other }
    }
}

impl Buffer {
    fn new(size: Size, length: usize) -> Self {
        Self { bytes: vec![0; length].into_boxed_slice(), size }
    }

    /// Returns a small buffer.
    pub(crate) fn small() -> Self {
        let kept = POOL.try_with(|pool| pool.borrow_mut().small.pop());
        kept.ok().flatten().unwrap_or_else(|| Self::new(Size::Small, SMALL))
    }

    /// Returns a large buffer, or `None` if there are too many.
    pub(crate) fn large() -> Option<Self> {
        if let Some(kept) = POOL.try_with(|pool| pool.borrow_mut().large.pop()).ok().flatten() {
            return Some(kept);
        }
        let reserve = |count: usize| (count < MAX_LARGE).then_some(count + 1);
        LARGE_BUFFERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).ok()?;
        Some(Self::new(Size::Large, LARGE))
    }

    /// Gives the buffer back to the thread's pool.
    pub(crate) fn release(self) {
        // Without a pool, at the end of a thread, the buffer is dropped.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let (kept, limit) = match self.size {
                Size::Small => (&mut pool.small, KEPT_SMALL),
                Size::Large => (&mut pool.large, KEPT_LARGE),
                Size::Other => return Some(self),
            };
            if kept.len() < limit {
                kept.push(self);
                return None;
            }
            Some(self)
        });
    }

    pub(crate) fn is_small(&self) -> bool {
        self.size == Size::Small
    }

    /// Returns whether reads can use the buffer.
    pub(crate) fn is_of_pool(&self) -> bool {
        self.size != Size::Other
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.size == Size::Large {
            LARGE_BUFFERS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many buffers of each size this thread keeps.
    fn kept() -> (usize, usize) {
        POOL.with_borrow(|pool| (pool.small.len(), pool.large.len()))
    }

    #[test]
    fn buffer_of_a_released_one_is_the_same() {
        // The pool is that of a thread, and tests can share threads.
        std::thread::spawn(|| {
            let mut buffer = Buffer::small();
            assert_eq!((buffer.bytes().len(), kept()), (SMALL, (0, 0)));
            buffer.bytes_mut()[0] = 7;
            buffer.release();
            assert_eq!(kept(), (1, 0));
            assert_eq!(Buffer::small().bytes()[0], 7, "not initialized again");
            assert_eq!(kept(), (0, 0));
            Buffer::from(vec![1; LARGE]).release();
            let buffers: Vec<_> = (0..2 * KEPT_SMALL).map(|_| Buffer::small()).collect();
            buffers.into_iter().for_each(Buffer::release);
            assert_eq!(kept(), (KEPT_SMALL, 0));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn buffer_large_beyond_the_limit_is_none() {
        std::thread::spawn(|| {
            for round in 0..3 {
                let buffers: Vec<_> = std::iter::from_fn(Buffer::large).collect();
                // Other tests can have some. Those that were dropped in an earlier round are not counted.
                assert!((MAX_LARGE - 8..=MAX_LARGE).contains(&buffers.len()), "{} in round {round}", buffers.len());
                buffers.into_iter().for_each(Buffer::release);
                assert_eq!(kept(), (0, KEPT_LARGE));
            }
        })
        .join()
        .unwrap();
    }
}
