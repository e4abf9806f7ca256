//! The memory that a part of a program allocates at most, if the program's allocator counts its blocks.
//!
//! The peak that the system reports is that of a process since its start, and an allocator that keeps freed memory hides what a
//! later part needs. The program `smalti` counts; a library cannot choose the allocator of its program.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The smallest block that is counted, in bytes. Tensors are larger, and most other blocks smaller: they stay as fast as before.
const COUNTED: usize = 4096;

static HEAP: Heap = Heap::new();

/// Counts a block that the allocator of the program gave.
#[inline]
pub fn allocated(bytes: usize) {
    HEAP.allocated(bytes);
}

/// Counts a block that the allocator of the program took back.
#[inline]
pub fn freed(bytes: usize) {
    HEAP.freed(bytes);
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

    fn allocated(&self, bytes: usize) {
        if bytes >= COUNTED {
            self.peak.fetch_max(self.in_use.fetch_add(bytes, Relaxed) + bytes, Relaxed);
        }
    }

    fn freed(&self, bytes: usize) {
        if bytes >= COUNTED {
            self.in_use.fetch_sub(bytes, Relaxed);
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
    use super::{COUNTED, Heap};

    #[test]
    fn a_peak_has_the_large_blocks_since_its_start() {
        let heap = Heap::new();
        heap.restart_peak();
        assert_eq!(heap.peak(), None);
        heap.allocated(10 * COUNTED);
        heap.freed(9 * COUNTED);
        heap.restart_peak();
        heap.allocated(COUNTED - 1);
        heap.allocated(3 * COUNTED);
        heap.freed(3 * COUNTED);
        heap.allocated(2 * COUNTED);
        assert_eq!(heap.peak(), Some(3 * COUNTED));
    }
}
