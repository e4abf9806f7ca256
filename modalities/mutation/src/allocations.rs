//! The memory that a thread has allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator with a count of each thread's allocated bytes. A test binary installs it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: smalti_mutation::Counting = smalti_mutation::Counting;
/// ```
pub struct Counting;

thread_local! {
    /// Bytes that this thread has allocated minus those that it has freed. Signed, because a thread may free memory
    /// that another one allocated.
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
    /// The maximum of `ALLOCATED` since the last [`begin`].
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Add to the count. A thread that is ending has no counters any more, so its last changes are ignored.
fn count(bytes: isize) {
    let _ = ALLOCATED.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system allocator; counting neither allocates nor touches its memory.
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

/// The bytes that this thread holds now; resets the maximum.
pub(crate) fn begin() -> isize {
    let held = ALLOCATED.get();
    PEAK.set(held);
    held
}

/// The maximum of bytes that this thread has held since [`begin`], minus `held`, its result.
pub(crate) fn peak_since(held: isize) -> usize {
    (PEAK.get() - held).max(0) as usize
}

/// # Panics
/// If the test binary has not installed [`Counting`].
pub(crate) fn assert_installed(format: &str) {
    let held = begin();
    drop(std::hint::black_box(vec![1_u8; 1 << 12]));
    assert!(
        peak_since(held) >= 1 << 12,
        "{format}: the test must install smalti_mutation::Counting as its allocator"
    );
}
