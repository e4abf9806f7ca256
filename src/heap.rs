//! The peak memory of a part of a program, if the program's allocator counts its blocks.
//!
//! The peak that the system reports is that of a process since its start, and an allocator that keeps freed memory hides what a
//! later part needs. The program `smalti` counts with [`Counting`]; a library cannot choose the allocator of its program.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The smallest counted block, in bytes. Larger blocks hold nearly all bytes; the many smaller ones are not counted, so that they
/// cost nothing.
const MIN_COUNTED_BYTES: usize = 4096;

static HEAP: Heap = Heap::new();

/// An allocator whose blocks of 4 KiB and more are counted. A program has at most one.
pub struct Counting<A>(pub A);

// SAFETY: each method is that of the inner allocator, with the same arguments. Counting does not allocate.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this function.
        counted(unsafe { self.0.alloc(layout) }, 0, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this function.
        counted(unsafe { self.0.alloc_zeroed(layout) }, 0, layout.size())
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for this function.
        counted(unsafe { self.0.realloc(place, layout, size) }, layout.size(), size)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HEAP.resize(layout.size(), 0);
        // SAFETY: as for this function.
        unsafe { self.0.dealloc(place, layout) }
    }
}

/// A block that had `before` bytes and has `after`, counted unless it is null.
#[inline]
fn counted(place: *mut u8, before: usize, after: usize) -> *mut u8 {
    if !place.is_null() {
        HEAP.resize(before, after);
    }
    place
}

/// Starts to measure the peak; an earlier measurement ends.
pub(crate) fn restart_peak() {
    HEAP.restart_peak();
}

/// Most bytes in use since [`restart_peak`], without those in use at that time; `None` if the allocator does not count.
pub(crate) fn peak() -> Option<usize> {
    HEAP.peak()
}

/// The bytes in use now, at the start of a measurement, and at most since then.
struct Heap {
    in_use: AtomicUsize,
    start: AtomicUsize,
    peak: AtomicUsize,
}

impl Heap {
    const fn new() -> Self {
        Self { in_use: AtomicUsize::new(0), start: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Counts a block that had `before` bytes and has `after`; a new or a freed block has 0.
    #[inline]
    fn resize(&self, before: usize, after: usize) {
        let counted = |bytes: usize| if bytes >= MIN_COUNTED_BYTES { bytes } else { 0 };
        let (before, after) = (counted(before), counted(after));
        if after > before {
            let more = after - before;
            self.peak.fetch_max(self.in_use.fetch_add(more, Relaxed) + more, Relaxed);
        } else if after < before {
            self.in_use.fetch_sub(before - after, Relaxed);
        }
    }

    fn restart_peak(&self) {
        let in_use = self.in_use.load(Relaxed);
        self.start.store(in_use, Relaxed);
        self.peak.store(in_use, Relaxed);
    }

    fn peak(&self) -> Option<usize> {
        let peak = self.peak.load(Relaxed);
        (peak > 0).then(|| peak.saturating_sub(self.start.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Counting, Heap, MIN_COUNTED_BYTES};
    use std::alloc::{GlobalAlloc, Layout, System};

    #[test]
    fn a_peak_has_the_large_blocks_since_its_start() {
        const UNIT: usize = MIN_COUNTED_BYTES;
        let heap = Heap::new();
        heap.restart_peak();
        assert_eq!(heap.peak(), None, "nothing was counted");
        heap.resize(0, 10 * UNIT);
        heap.resize(10 * UNIT, UNIT);
        heap.restart_peak();
        heap.resize(0, UNIT - 1);
        heap.resize(UNIT - 1, 3 * UNIT);
        heap.resize(3 * UNIT, 4 * UNIT);
        heap.resize(4 * UNIT, 0);
        heap.resize(0, 2 * UNIT);
        assert_eq!(heap.peak(), Some(4 * UNIT));
    }

    #[test]
    fn a_counting_allocator_gives_the_blocks_of_the_inner_one() {
        let (allocator, layout) = (Counting(System), Layout::from_size_align(8192, 64).unwrap());
        // SAFETY: the layout has a size above 0, and the block is freed once, with the size that it then has.
        unsafe {
            let place = allocator.alloc_zeroed(layout);
            assert!(!place.is_null() && place.addr() % 64 == 0 && *place == 0);
            *place = 7;
            let place = allocator.realloc(place, layout, 16384);
            assert_eq!(*place, 7);
            allocator.dealloc(place, Layout::from_size_align(16384, 64).unwrap());
        }
    }
}
