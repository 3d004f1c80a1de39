//! Handles: numbers with the type of a pointer. They are looked up and never dereferenced, so that NULL, a closed handle
//! and a handle of another type are rejected, also while another thread closes the handle.
//!
//! No lock is taken, so that the table is consistent in a forked child.

use std::{
    marker::PhantomData,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwapOption, Guard};
use pgentra::{Error, ErrorKind, Result};

#[cfg(target_pointer_width = "64")]
const INDEX_BITS: u32 = 32;
#[cfg(target_pointer_width = "64")]
const GENERATION_BITS: u32 = 28;
#[cfg(not(target_pointer_width = "64"))]
const INDEX_BITS: u32 = 18;
#[cfg(not(target_pointer_width = "64"))]
const GENERATION_BITS: u32 = 10;

const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = 20;

/// All handles of one type. `H` is the type to which the pointer points in C.
pub struct Table<H, T> {
    /// The highest bits of a handle. It is at least 1, so that no handle is NULL.
    kind: usize,
    name: &'static str,
    /// Each chunk is twice as long as the one before. It is allocated when needed and never freed.
    chunks: [AtomicPtr<Slot<T>>; CHUNKS],
    /// The number of slots that were ever used.
    used: AtomicU32,
    /// The list of free slots: the first one's index + 1, and in the upper half a count that changes with every pop.
    free: AtomicU64,
    handle: PhantomData<fn() -> H>,
}

struct Slot<T> {
    entry: ArcSwapOption<Entry<T>>,
    /// The generation of the entry, or of the last one. A handle of an earlier generation is rejected.
    generation: AtomicU32,
    /// The next free slot's index + 1, in the list of free slots.
    next: AtomicU32,
}

/// The value of a handle.
pub struct Entry<T> {
    generation: u32,
    value: T,
}

/// A short borrow of an entry.
type Borrowed<T> = Guard<Option<Arc<Entry<T>>>>;

impl<T> std::ops::Deref for Entry<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<H, T> Table<H, T> {
    /// Creates a table. `kind` differs from the kinds of all other tables; errors contain `name`.
    pub const fn new(kind: usize, name: &'static str) -> Self {
        Table {
            kind,
            name,
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
            handle: PhantomData,
        }
    }

    /// Creates a handle.
    pub fn insert(&self, value: T) -> Result<*mut H> {
        let full = || Error::new(ErrorKind::Internal, format!("too many handles of type {} are open", self.name));
        let index = match self.pop() {
            Some(index) => index,
            None => self
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    (used < u32::MAX >> (32 - INDEX_BITS.min(31))).then_some(used + 1)
                })
                .map_err(|_| full())?,
        };
        let slot = self.slot(index, true).ok_or_else(full)?;
        let mask = (1u32 << GENERATION_BITS) - 1;
        let generation = slot.generation.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & mask;
        slot.entry.store(Some(Arc::new(Entry { generation, value })));
        let number = self.kind << (INDEX_BITS + GENERATION_BITS) | (generation as usize) << INDEX_BITS | index as usize;
        Ok(ptr::without_provenance_mut(number))
    }

    /// Borrows the value of a handle for a short time, without changing a reference count.
    #[inline]
    pub fn borrow(&self, handle: *const H) -> Result<Borrowed<T>> {
        self.find(handle).map(|(_, guard)| guard).ok_or_else(|| self.invalid(handle))
    }

    /// Returns the value of a handle.
    pub fn get(&self, handle: *const H) -> Result<Arc<Entry<T>>> {
        self.borrow(handle).and_then(|guard| Guard::into_inner(guard).ok_or_else(|| self.invalid(handle)))
    }

    /// Closes a handle. Returns `None` for an invalid handle or one that was closed before.
    pub fn remove(&self, handle: *const H) -> Option<Arc<Entry<T>>> {
        let (index, guard) = self.find(handle)?;
        let slot = self.slot(index, false)?;
        let found = Guard::into_inner(guard)?;
        let before = slot.entry.compare_and_swap(&found, None);
        // Two threads may close it at once; one of them succeeds.
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &found)) {
            return None;
        }
        self.push(index, slot);
        Some(found)
    }

    fn invalid(&self, handle: *const H) -> Error {
        let problem = if handle.is_null() { "is NULL" } else { "is not open, or is a handle of another type" };
        Error::new(ErrorKind::InvalidArgument, format!("{} {problem}", self.name))
    }

    #[inline]
    fn find(&self, handle: *const H) -> Option<(u32, Borrowed<T>)> {
        let number = handle.addr();
        let index = (number & ((1 << INDEX_BITS) - 1)) as u32;
        let generation = (number >> INDEX_BITS) as u32 & ((1 << GENERATION_BITS) - 1);
        if number >> (INDEX_BITS + GENERATION_BITS) != self.kind {
            return None;
        }
        let guard = self.slot(index, false)?.entry.load();
        guard.as_ref().is_some_and(|entry| entry.generation == generation).then_some((index, guard))
    }

    #[inline]
    fn slot(&self, index: u32, make: bool) -> Option<&Slot<T>> {
        let place = index as usize / FIRST_CHUNK + 1;
        let number = place.ilog2() as usize;
        let length = FIRST_CHUNK << number;
        let chunk = self.chunks.get(number)?;
        let mut slots = chunk.load(Ordering::Acquire);
        if slots.is_null() {
            if !make {
                return None;
            }
            slots = allocate(chunk, length);
        }
        let offset = index as usize - (length - FIRST_CHUNK);
        // SAFETY: a chunk that is not NULL has `length` slots, which are never freed; `offset` is less than `length`
        // because 2^number <= index / FIRST_CHUNK + 1 < 2^(number + 1).
        Some(unsafe { &*slots.add(offset) })
    }

    fn pop(&self) -> Option<u32> {
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            let index = (free as u32).checked_sub(1)?;
            let next = self.slot(index, false)?.next.load(Ordering::Relaxed);
            let after = (free >> 32).wrapping_add(1) << 32 | u64::from(next);
            match self.free.compare_exchange_weak(free, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => free = now,
            }
        }
    }

    fn push(&self, index: u32, slot: &Slot<T>) {
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            slot.next.store(free as u32, Ordering::Relaxed);
            let after = (free >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
            match self.free.compare_exchange_weak(free, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }
}

#[cold]
fn allocate<T>(chunk: &AtomicPtr<Slot<T>>, length: usize) -> *mut Slot<T> {
    let slots: Box<[Slot<T>]> = (0..length)
        .map(|_| Slot { entry: ArcSwapOption::empty(), generation: AtomicU32::new(0), next: AtomicU32::new(0) })
        .collect();
    let made = Box::into_raw(slots).cast::<Slot<T>>();
    match chunk.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(theirs) => {
            // SAFETY: `made` is from Box::into_raw of `length` slots, and no other thread has seen it.
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(made, length)) });
            theirs
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apple;
    struct Pear;

    #[test]
    fn table_with_a_closed_or_foreign_handle_returns_an_error() {
        let apples: Table<Apple, u32> = Table::new(1, "apple");
        let pears: Table<Pear, u32> = Table::new(2, "pear");
        let one = apples.insert(7).expect("not full");
        assert_eq!(**apples.get(one).expect("open"), 7);
        assert!(pears.get(one.cast()).is_err());
        assert_eq!(apples.remove(one).map(|entry| **entry), Some(7));
        assert!(apples.remove(one).is_none());
        // The slot is reused with another generation.
        let two = apples.insert(8).expect("not full");
        assert_ne!(one, two);
        let error = apples.get(one).map(drop).expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().starts_with("apple is not open"), "{error}");
        assert!(apples.get(ptr::null()).map(drop).expect_err("NULL").to_string().starts_with("apple is NULL"));
        for number in [1, 64, usize::MAX, two.addr() + 1, two.addr() + (1 << INDEX_BITS)] {
            assert!(apples.get(ptr::without_provenance(number)).is_err(), "{number:#x}");
        }
    }

    #[test]
    fn table_used_by_several_threads_keeps_their_values_apart() {
        static TABLE: Table<Apple, usize> = Table::new(3, "apple");
        const EACH: usize = if cfg!(miri) { 20 } else { 2_000 };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut open = Vec::new();
                    for round in 0..EACH {
                        let value = thread * EACH + round;
                        let handle = TABLE.insert(value).expect("not full");
                        assert_eq!(TABLE.borrow(handle).expect("open").as_deref().map(|entry| **entry), Some(value));
                        open.push((handle, value));
                        if round % 3 == 0 {
                            let (handle, value) = open.swap_remove(open.len() / 2);
                            assert_eq!(TABLE.remove(handle).map(|entry| **entry), Some(value));
                            assert!(TABLE.get(handle).is_err());
                        }
                    }
                    for (handle, value) in open {
                        assert_eq!(TABLE.remove(handle).map(|entry| **entry), Some(value));
                    }
                });
            }
        });
        assert!(TABLE.used.load(Ordering::Relaxed) as usize <= 4 * EACH);
    }

    #[test]
    fn table_remove_by_two_threads_succeeds_once() {
        static TABLE: Table<Apple, usize> = Table::new(4, "apple");
        for round in 0..if cfg!(miri) { 5 } else { 500 } {
            let number = TABLE.insert(round).expect("not full").addr();
            let closed: usize = std::thread::scope(|scope| {
                let close = || usize::from(TABLE.remove(ptr::without_provenance(number)).is_some());
                let threads = [scope.spawn(close), scope.spawn(close)];
                threads.map(|thread| thread.join().expect("no panic")).iter().sum()
            });
            assert_eq!(closed, 1);
        }
    }
}
