//! Strings that C holds: NUL-terminated, reference-counted, zeroized when the last holder frees them.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    ffi::c_char,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence},
};

use zeroize::Zeroize;

/// The data in front of the characters.
#[repr(C)]
struct Header {
    holders: AtomicUsize,
    /// The number of bytes without the NUL.
    length: usize,
}

const HEADER: usize = size_of::<Header>();

/// One holder's reference to a string. The pointer is the address of the characters, so that C needs no accessor.
pub struct CountedString(NonNull<u8>);

// SAFETY: the characters never change, and the count is atomic.
unsafe impl Send for CountedString {}
// SAFETY: as above.
unsafe impl Sync for CountedString {}

impl CountedString {
    /// Copies `text`. A NUL inside it, which would end the string early in C, is replaced by U+FFFD.
    pub fn new(text: &str) -> CountedString {
        if text.contains('\0') {
            return CountedString::new(&text.replace('\0', "\u{fffd}"));
        }
        let length = text.len();
        let layout = layout(length);
        // SAFETY: the layout is not empty; the block has room for the header, `length` characters and the NUL, and is
        // aligned for the header.
        unsafe {
            let Some(block) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            block.cast::<Header>().write(Header { holders: AtomicUsize::new(1), length });
            let characters = block.add(HEADER);
            characters.copy_from_nonoverlapping(NonNull::from(text.as_bytes()).cast(), length);
            characters.add(length).write(0);
            CountedString(characters)
        }
    }

    /// Transfers this holder's reference to C, which returns it through [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> *const c_char {
        let pointer = self.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// Takes a reference back from C.
    ///
    /// # Safety
    /// `pointer` is NULL or a result of [`into_raw`](Self::into_raw), and each reference is taken back once.
    pub unsafe fn from_raw(pointer: *const c_char) -> Option<CountedString> {
        NonNull::new(pointer.cast_mut().cast()).map(CountedString)
    }

    /// Returns the characters, terminated by NUL.
    pub fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast_const().cast()
    }

    fn header(&self) -> &Header {
        // SAFETY: `new` wrote the header in front of the characters, in the same block, which exists while it has a
        // holder.
        unsafe { self.0.sub(HEADER).cast().as_ref() }
    }
}

impl Clone for CountedString {
    #[inline]
    fn clone(&self) -> Self {
        self.header().holders.fetch_add(1, Ordering::Relaxed);
        CountedString(self.0)
    }
}

impl Drop for CountedString {
    #[inline]
    fn drop(&mut self) {
        if self.header().holders.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            let length = self.header().length;
            // SAFETY: this was the last holder, so no other thread reads the block, which was allocated with this layout.
            unsafe {
                std::slice::from_raw_parts_mut(self.0.as_ptr(), length).zeroize();
                dealloc(self.0.sub(HEADER).as_ptr(), layout(length));
            }
        }
    }
}

fn layout(length: usize) -> Layout {
    // An error needs a length of more than half of the address space, which a `str` in memory cannot have.
    Layout::from_size_align(HEADER + length + 1, align_of::<Header>())
        .unwrap_or_else(|_| handle_alloc_error(Layout::new::<Header>()))
}

/// A string for a name of the engine. It is valid for the life of the process: it has more holders than C can free, so that C
/// may treat it as any other string.
#[derive(Clone, Copy)]
pub struct StaticString(*const c_char);

// SAFETY: the string never changes and is never freed.
unsafe impl Send for StaticString {}
// SAFETY: as above.
unsafe impl Sync for StaticString {}

impl StaticString {
    /// Returns the characters, terminated by NUL.
    pub fn as_ptr(self) -> *const c_char {
        self.0
    }
}

/// An entry in the list of static strings. Entries are never removed.
struct Entry {
    name: &'static str,
    string: StaticString,
    /// The start of the string's block. Leak checkers follow only pointers to the start of a block.
    _block: *const u8,
    next: *const Entry,
}

/// Returns the string for a name of the engine, which is made once. There are a few dozen names.
pub fn static_string(name: &'static str) -> StaticString {
    // A list without a lock, because a forked child must be able to use it at any moment.
    static NAMES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());
    let mut first = NAMES.load(Ordering::Acquire);
    if let Some(string) = find(first, name) {
        return string;
    }
    let counted = CountedString::new(name);
    counted.header().holders.store(usize::MAX / 2, Ordering::Relaxed);
    let string = StaticString(counted.as_ptr());
    let block = string.0.cast::<u8>().wrapping_sub(HEADER);
    let made = Box::into_raw(Box::new(Entry { name, string, _block: block, next: first }));
    loop {
        match NAMES.compare_exchange(first, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                std::mem::forget(counted);
                return string;
            }
            Err(now) => first = now,
        }
        if let Some(string) = find(first, name) {
            // SAFETY: `made` came from Box::into_raw, and no other thread has seen it or its string.
            drop(unsafe { Box::from_raw(made) });
            counted.header().holders.store(1, Ordering::Relaxed);
            return string;
        }
        // SAFETY: as above.
        unsafe { (*made).next = first };
    }
}

fn find(mut entry: *const Entry, name: &str) -> Option<StaticString> {
    // SAFETY: an entry in the list is never freed or changed, and the list ends with null.
    while let Some(found) = unsafe { entry.as_ref() } {
        if found.name == name {
            return Some(found.string);
        }
        entry = found.next;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn read(pointer: *const c_char) -> String {
        // SAFETY: every pointer of these tests is a string of this module that still has a holder.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn counted_string_with_a_nul_inside_ends_only_at_its_end() {
        for (text, seen) in [("", ""), ("a", "a"), ("tökén", "tökén"), ("a\0b", "a\u{fffd}b")] {
            assert_eq!(read(CountedString::new(text).as_ptr()), seen);
        }
    }

    #[test]
    fn counted_string_with_several_holders_is_valid_until_the_last_one_frees_it() {
        let string = CountedString::new("shared");
        let raw = string.clone().into_raw();
        drop(string);
        assert_eq!(read(raw), "shared");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                // SAFETY: `raw` has a holder; the holder made here is not dropped.
                let held = unsafe { CountedString::from_raw(raw) }.expect("a string");
                let cloned = held.clone();
                std::mem::forget(held);
                std::thread::spawn(move || assert_eq!(read(cloned.as_ptr()), "shared"))
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        // SAFETY: the reference of `into_raw`, taken back once.
        drop(unsafe { CountedString::from_raw(raw) });
        // SAFETY: NULL is allowed.
        assert!(unsafe { CountedString::from_raw(std::ptr::null()) }.is_none());
    }

    #[test]
    fn static_string_is_made_once_and_survives_every_free() {
        let upn = static_string("upn").as_ptr();
        for _ in 0..3 {
            // SAFETY: a string of this module.
            drop(unsafe { CountedString::from_raw(upn) });
        }
        assert_eq!((static_string("upn").as_ptr(), read(upn).as_str()), (upn, "upn"));
        assert_eq!(read(static_string("management token").as_ptr()), "management token");
    }

    #[test]
    fn static_string_of_several_threads_is_one_string() {
        let names: [&'static str; 3] = ["one", "two", "three"];
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(move || names.map(|name| static_string(name).as_ptr().addr()))).collect();
        let found: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        assert!(found.iter().all(|pointers| *pointers == found[0]));
    }
}
