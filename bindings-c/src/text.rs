//! Strings that C holds: NUL-terminated, counted, wiped when the last holder gives them back.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    collections::HashMap,
    ffi::c_char,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering, fence},
    },
};

use arc_swap::ArcSwapOption;
use zeroize::Zeroize;

/// What lies before the characters.
#[repr(C)]
struct Header {
    holders: AtomicUsize,
    /// Without the NUL.
    length: usize,
}

const HEADER: usize = size_of::<Header>();

/// A holder of a string. The pointer is to the characters, so that C needs no accessor.
pub struct Text(NonNull<u8>);

// SAFETY: the characters never change, and the count is atomic.
unsafe impl Send for Text {}
// SAFETY: as above.
unsafe impl Sync for Text {}

impl Text {
    /// A copy of `text`. A NUL in it, which would end it early in C, becomes a replacement character.
    pub fn new(text: &str) -> Text {
        if text.contains('\0') {
            return Text::new(&text.replace('\0', "\u{fffd}"));
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
            Text(characters)
        }
    }

    /// Hands this holder's share to C, which gives it back through [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> *const c_char {
        let pointer = self.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// Takes a share back.
    ///
    /// # Safety
    /// `pointer` is from [`into_raw`](Self::into_raw), and each share is taken back once.
    pub unsafe fn from_raw(pointer: *const c_char) -> Option<Text> {
        NonNull::new(pointer.cast_mut().cast()).map(Text)
    }

    /// The characters, ended by NUL.
    pub fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast_const().cast()
    }

    /// The characters, without the NUL.
    pub fn as_str(&self) -> &str {
        // SAFETY: `new` copied the bytes of a `str` there, `length` of them, which never change.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(self.0.as_ptr(), self.header().length)) }
    }

    fn header(&self) -> &Header {
        // SAFETY: `new` put the header before the characters, in the same block, which lives as long as a holder does.
        unsafe { self.0.sub(HEADER).cast().as_ref() }
    }
}

impl Clone for Text {
    #[inline]
    fn clone(&self) -> Self {
        self.header().holders.fetch_add(1, Ordering::Relaxed);
        Text(self.0)
    }
}

impl Drop for Text {
    #[inline]
    fn drop(&mut self) {
        if self.header().holders.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            let length = self.header().length;
            // SAFETY: this was the last holder, so nobody else reads the block, which was allocated with this layout.
            unsafe {
                std::slice::from_raw_parts_mut(self.0.as_ptr(), length).zeroize();
                dealloc(self.0.sub(HEADER).as_ptr(), layout(length));
            }
        }
    }
}

fn layout(length: usize) -> Layout {
    // It fails for more than half of the address space, which no `str` has beside itself.
    Layout::from_size_align(HEADER + length + 1, align_of::<Header>())
        .unwrap_or_else(|_| handle_alloc_error(Layout::new::<Header>()))
}

/// A name of the engine's as a C string that lives for ever: it has more holders than can ever give it back, so that C may treat
/// it like any other. There are a few dozen of them.
pub fn interned(name: &'static str) -> *const c_char {
    static NAMES: ArcSwapOption<HashMap<&'static str, Text>> = ArcSwapOption::const_empty();
    if let Some(known) = NAMES.load().as_ref().and_then(|names| names.get(name)) {
        return known.as_ptr();
    }
    let made = Text::new(name);
    made.header().holders.store(usize::MAX / 2, Ordering::Relaxed);
    NAMES.rcu(|names| {
        let mut names = names.as_deref().cloned().unwrap_or_default();
        names.entry(name).or_insert_with(|| made.clone());
        Some(Arc::new(names))
    });
    made.into_raw()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn read(pointer: *const c_char) -> String {
        // SAFETY: every pointer of these tests is to a string of this module, still held.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_string_is_ended_by_nul_and_has_none_inside() {
        for (text, seen) in [("", ""), ("a", "a"), ("tökén", "tökén"), ("a\0b", "a\u{fffd}b")] {
            assert_eq!(read(Text::new(text).as_ptr()), seen);
            assert_eq!(Text::new(text).as_str(), seen);
        }
    }

    #[test]
    fn the_last_share_frees_it_whoever_holds_that() {
        let text = Text::new("shared");
        let raw = text.clone().into_raw();
        drop(text);
        assert_eq!(read(raw), "shared");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                // SAFETY: `raw` is held; the holder made here is not dropped.
                let held = unsafe { Text::from_raw(raw) }.expect("a string");
                let mine = held.clone();
                std::mem::forget(held);
                std::thread::spawn(move || assert_eq!(read(mine.as_ptr()), "shared"))
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        // SAFETY: the share of `into_raw`, taken back once.
        drop(unsafe { Text::from_raw(raw) });
        // SAFETY: NULL is nobody's.
        assert!(unsafe { Text::from_raw(std::ptr::null()) }.is_none());
    }

    #[test]
    fn a_name_is_interned_once_and_outlives_whoever_gives_it_back() {
        let upn = interned("upn");
        for _ in 0..3 {
            // SAFETY: a string of this module.
            drop(unsafe { Text::from_raw(upn) });
        }
        assert_eq!((interned("upn"), read(upn).as_str()), (upn, "upn"));
        assert_eq!(read(interned("management token")), "management token");
    }
}
