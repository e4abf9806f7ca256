//! The program `smalti`: the command line for the built-in modalities.

use smalti::heap::Counting;
use smalti::registry::Modalities;
use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(Counting(mimalloc::MiMalloc));

fn main() -> ExitCode {
    keep_memory();
    smalti::cli::main(Modalities::builtin())
}

/// mimalloc, which keeps freed memory, counted, and with an error of ours where memory runs out.
///
/// Every training step allocates and frees the same few hundred megabytes. An allocator that returns them to the system in
/// between spends more time on page faults than the kernels compute.
struct Allocator(Counting<mimalloc::MiMalloc>);

// SAFETY: each method is mimalloc's, with the same arguments; a null pointer ends the process.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this function.
        allocated(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this function.
        allocated(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for this function.
        allocated(unsafe { self.0.realloc(place, layout, size) }, size)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as for this function.
        unsafe { self.0.dealloc(place, layout) }
    }
}

/// A block of memory, or the end of the process with a message and exit code 1, where Rust would abort.
fn allocated(place: *mut u8, size: usize) -> *mut u8 {
    if place.is_null() {
        out_of_memory(size);
    }
    place
}

/// The message is formatted on the stack, because there is no memory for it.
#[cold]
fn out_of_memory(size: usize) -> ! {
    let mut text = [0_u8; 256];
    let mut rest = &mut text[..];
    let _ = writeln!(
        rest,
        "error: out of memory: {size} more bytes cannot be allocated; lower train.batch_size, the context or model.d_model, or \
         give the process more memory"
    );
    let n = 256 - rest.len();
    let _ = std::io::stderr().write_all(&text[..n]);
    std::process::exit(1)
}

/// Makes the allocator keep freed memory. By default it returns memory to the system after 10 ms, and page faults of the next
/// step take a tenth of the time of image-tiny.
fn keep_memory() {
    /// `mi_option_purge_delay` of mimalloc 2, for which the binding has no name; -1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets one number that the allocator reads; any thread may do so at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
