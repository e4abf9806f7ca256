//! Threads that wait for work without going to sleep.
//!
//! A thread of the pool that finds no work goes to sleep after some microseconds, and waking it takes about as long as a small
//! operation: a map of one token, or a step of text-nano. While an [`Awake`] lives, the other threads look for work, and sleep only
//! if there is none for long.

use candle_core::Device;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The time without work after which a thread stops looking for some. It must stop: it may have begun to wait inside an operation
/// that it shares with the thread that holds the [`Awake`], which then waits for this one.
const PATIENCE: Duration = Duration::from_micros(500);

thread_local! {
    /// Whether this thread holds an [`Awake`], or waits for one to end. Such a thread must not wait inside another operation:
    /// that operation would not end before the wait.
    static TAKES_PART: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the other threads of the current pool awake until it is dropped.
pub(crate) struct Awake(Option<Arc<AtomicBool>>);

impl Awake {
    /// For a computation on the device. Without effect on a GPU, and on a thread that takes part already.
    pub(crate) fn on(device: &Device) -> Self {
        if !device.is_cpu() {
            return Self(None);
        }
        let others = rayon::current_num_threads() - usize::from(rayon::current_thread_index().is_some());
        if others == 0 || TAKES_PART.replace(true) {
            return Self(None);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        rayon::spawn_broadcast(move |_| wait(&over));
        Self(Some(is_over))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(is_over) = &self.0 {
            is_over.store(true, Ordering::Relaxed);
            TAKES_PART.set(false);
        }
    }
}

/// Runs what other threads offer, until it is over or they offer nothing for long.
fn wait(is_over: &AtomicBool) {
    /// Looks for work before other processes get the processor, if any of them waits.
    const SPINS: usize = 64;
    if TAKES_PART.replace(true) {
        return;
    }
    let (mut looks, mut last) = (0, Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            (looks, last) = (0, Instant::now());
            continue;
        }
        looks += 1;
        match looks % SPINS {
            0 if last.elapsed() > PATIENCE => break,
            0 => std::thread::yield_now(),
            _ => (0..16).for_each(|_| std::hint::spin_loop()),
        }
    }
    TAKES_PART.set(false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    fn squares() -> u64 {
        (0..1000_u64).into_par_iter().map(|i| i * i).sum()
    }

    fn on_threads<T: Send>(n: usize, f: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(f)
    }

    #[test]
    fn work_is_done_inside_and_outside_of_the_pool() {
        for threads in [1, 2, 5] {
            on_threads(threads, || {
                let _outer = Awake::on(&Device::Cpu);
                assert_eq!(squares(), 332_833_500, "{threads} threads");
                let _inner = Awake::on(&Device::Cpu); // without effect
                assert_eq!(squares(), 332_833_500, "{threads} threads");
            });
        }
        let _awake = Awake::on(&Device::Cpu);
        assert_eq!(squares(), 332_833_500);
    }

    #[test]
    fn a_thread_that_takes_part_can_end_and_begin_again() {
        on_threads(3, || {
            for _ in 0..50 {
                let awake = Awake::on(&Device::Cpu);
                assert!(awake.0.is_some());
                assert_eq!(squares(), 332_833_500);
            }
        });
    }

    #[test]
    fn a_thread_that_begins_to_wait_inside_an_operation_returns_to_it() {
        on_threads(2, || wait(&AtomicBool::new(false)));
    }

    #[test]
    fn a_panic_ends_the_wait() {
        on_threads(2, || {
            let caught = std::panic::catch_unwind(|| {
                let _awake = Awake::on(&Device::Cpu);
                (0..10).into_par_iter().for_each(|i| assert!(i < 5, "five"));
            });
            assert!(caught.is_err());
            assert!(Awake::on(&Device::Cpu).0.is_some());
            assert_eq!(squares(), 332_833_500);
        });
    }
}
