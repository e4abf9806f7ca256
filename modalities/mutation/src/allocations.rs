//! How much memory a thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts what each thread holds. A test binary installs it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: smalti_mutation::Counting = smalti_mutation::Counting;
/// ```
pub struct Counting;

thread_local! {
    /// Bytes that this thread has asked for and not given back. Memory that another thread gives back is not taken
    /// off here, so it is signed.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it was.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Counts. A thread that is ending has no counters left; what it does then is let go.
fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is the system allocator's own; counting touches none of its memory and asks for none.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What this thread holds now; from here on the most that it holds is kept.
pub(crate) fn begin() -> isize {
    let held = HELD.get();
    MOST.set(held);
    held
}

/// The most bytes that this thread has held since, beyond what it held at the beginning.
pub(crate) fn most_since(held: isize) -> usize {
    (MOST.get() - held).max(0) as usize
}

/// # Panics
/// Where the test binary has not installed [`Counting`].
pub(crate) fn insist(format: &str) {
    let held = begin();
    drop(std::hint::black_box(vec![1_u8; 1 << 12]));
    assert!(
        most_since(held) >= 1 << 12,
        "{format}: the test must install smalti_mutation::Counting as its allocator"
    );
}
