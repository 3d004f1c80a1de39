//! Handles: numbers in the shape of pointers, which are looked up, never followed. So one that is NULL, closed, or of
//! another type is refused, also while another thread closes it.
//!
//! No lock is taken: a child forked at any moment finds the table whole.

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

/// All handles of one type. `H` is what the pointer points to in C's eyes.
pub struct Table<H, T> {
    /// In the highest bits of a handle; from 1, so that none is NULL.
    kind: usize,
    name: &'static str,
    /// Each twice as long as the one before, made when needed, kept for ever.
    chunks: [AtomicPtr<Slot<T>>; CHUNKS],
    /// How many slots were ever used.
    used: AtomicU32,
    /// The free slots: the first one's index + 1, and a count in the upper half by which two states differ.
    free: AtomicU64,
    handle: PhantomData<fn() -> H>,
}

struct Slot<T> {
    entry: ArcSwapOption<Entry<T>>,
    /// Of the entry, or of the last one: a handle of an earlier one is refused.
    generation: AtomicU32,
    /// The next free slot's index + 1.
    next: AtomicU32,
}

/// What a handle stands for.
pub struct Entry<T> {
    generation: u32,
    value: T,
}

/// A look at an entry, which keeps it meanwhile.
type Look<T> = Guard<Option<Arc<Entry<T>>>>;

impl<T> std::ops::Deref for Entry<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<H, T> Table<H, T> {
    /// `kind` differs from those of all other tables. `name` stands in errors.
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

    /// A new handle.
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

    /// What the handle stands for, for a moment: no count is touched.
    #[inline]
    pub fn look(&self, handle: *const H) -> Result<Look<T>> {
        self.find(handle).map(|(_, guard)| guard).ok_or_else(|| self.refused(handle))
    }

    /// What the handle stands for, for a while.
    pub fn get(&self, handle: *const H) -> Result<Arc<Entry<T>>> {
        self.look(handle).and_then(|guard| Guard::into_inner(guard).ok_or_else(|| self.refused(handle)))
    }

    /// Closes the handle; `None` if it is none, or was closed before.
    pub fn remove(&self, handle: *const H) -> Option<Arc<Entry<T>>> {
        let (index, guard) = self.find(handle)?;
        let slot = self.slot(index, false)?;
        let found = Guard::into_inner(guard)?;
        let before = slot.entry.compare_and_swap(&found, None);
        // Two threads may close it at once: one of them does.
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &found)) {
            return None;
        }
        self.push(index, slot);
        Some(found)
    }

    fn refused(&self, handle: *const H) -> Error {
        let what = if handle.is_null() { "is NULL" } else { "is not open, or is a handle of another type" };
        Error::new(ErrorKind::InvalidArgument, format!("{} {what}", self.name))
    }

    #[inline]
    fn find(&self, handle: *const H) -> Option<(u32, Look<T>)> {
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
            slots = make_chunk(chunk, length);
        }
        let offset = index as usize - (length - FIRST_CHUNK);
        // SAFETY: a chunk that is not NULL has `length` slots, which live for ever; `offset` is less than `length`
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
fn make_chunk<T>(chunk: &AtomicPtr<Slot<T>>, length: usize) -> *mut Slot<T> {
    let slots: Box<[Slot<T>]> = (0..length)
        .map(|_| Slot { entry: ArcSwapOption::empty(), generation: AtomicU32::new(0), next: AtomicU32::new(0) })
        .collect();
    let made = Box::into_raw(slots).cast::<Slot<T>>();
    match chunk.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(theirs) => {
            // SAFETY: `made` is from Box::into_raw of `length` slots, and nobody else has seen it.
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
    fn a_handle_is_good_until_it_is_closed_and_only_where_it_belongs() {
        let apples: Table<Apple, u32> = Table::new(1, "apple");
        let pears: Table<Pear, u32> = Table::new(2, "pear");
        let one = apples.insert(7).expect("room");
        assert_eq!(**apples.get(one).expect("open"), 7);
        assert!(pears.get(one.cast()).is_err());
        assert_eq!(apples.remove(one).map(|entry| **entry), Some(7));
        assert!(apples.remove(one).is_none());
        // The slot is used again, under another number.
        let two = apples.insert(8).expect("room");
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
    fn threads_open_and_close_at_once() {
        static TABLE: Table<Apple, usize> = Table::new(3, "apple");
        const EACH: usize = if cfg!(miri) { 20 } else { 2_000 };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut open = Vec::new();
                    for round in 0..EACH {
                        let value = thread * EACH + round;
                        let handle = TABLE.insert(value).expect("room");
                        assert_eq!(TABLE.look(handle).expect("open").as_deref().map(|entry| **entry), Some(value));
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
    fn of_two_who_close_a_handle_one_does() {
        static TABLE: Table<Apple, usize> = Table::new(4, "apple");
        for round in 0..if cfg!(miri) { 5 } else { 500 } {
            let number = TABLE.insert(round).expect("room").addr();
            let closed: usize = std::thread::scope(|scope| {
                let close = || usize::from(TABLE.remove(ptr::without_provenance(number)).is_some());
                let threads = [scope.spawn(close), scope.spawn(close)];
                threads.map(|thread| thread.join().expect("no panic")).iter().sum()
            });
            assert_eq!(closed, 1);
        }
    }
}
