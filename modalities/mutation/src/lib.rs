//! Damaged files for tests of readers.
//!
//! A reader must return a value or an error for every file, however damaged: it must not panic, hang, or allocate more
//! than a stated bound. [`survives`] tests this on thousands of mutations of valid files. Each mutation is a pure
//! function of its number, so the number in a failure reproduces it.
//!
//! ```
//! use smalti_mutation::{Bound, survives};
//!
//! #[global_allocator]
//! static ALLOCATOR: smalti_mutation::Counting = smalti_mutation::Counting;
//!
//! let number = |bytes: &[u8]| std::str::from_utf8(bytes).map_err(|e| e.to_string())?.parse::<i32>().map_err(|e| e.to_string());
//! let report = survives("a number", &[b"1234".to_vec()], Bound::bytes(1 << 20), number);
//! assert_eq!(report.read + report.rejected, report.files);
//! ```
//!
//! The number of mutations is [`files`]: 2,000, or the value of the environment variable `SMALTI_MUTATIONS`. Memory is
//! measured only if the test binary installs [`Counting`] as its allocator; otherwise [`survives`] panics.

mod allocations;
mod mutate;

pub use allocations::Counting;
pub use mutate::mutated;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The longest that a reader may take for one small file.
const SLOWEST: Duration = Duration::from_secs(10);
/// After this time, a reader counts as hanging and the process aborts.
const HANGS: Duration = Duration::from_secs(60);

/// The bound on the memory that a reader holds at once.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    fixed: usize,
    of_file: usize,
}

impl Bound {
    /// A fixed number of bytes, whatever the file's size.
    pub fn bytes(fixed: usize) -> Self {
        Self { fixed, of_file: 0 }
    }

    /// Add this many bytes for each byte of the file.
    pub fn and_of_file(self, times: usize) -> Self {
        Self { of_file: times, ..self }
    }

    fn of(self, file: &[u8]) -> usize {
        self.fixed + self.of_file * file.len()
    }
}

/// The results of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Files tried.
    pub files: usize,
    /// Files that were read in spite of the damage.
    pub read: usize,
    /// Files that gave an error.
    pub rejected: usize,
    /// The maximum of bytes that the reader held at once.
    pub peak_bytes: usize,
    /// The longest time for one file.
    pub slowest: Duration,
}

/// The number of mutations of each format: 2,000, or the value of `SMALTI_MUTATIONS`.
pub fn files() -> usize {
    std::env::var("SMALTI_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

/// Test a reader on [`files`] mutations of valid files; print and return the results.
///
/// The reader must accept each valid file. Memory of other threads that it starts is not counted.
///
/// # Panics
/// If the reader panics, rejects a valid file, takes longer than 10 s or holds more memory than `bound`; the message
/// names the mutation.
pub fn survives<T, E: Display>(
    format: &str,
    valid: &[Vec<u8>],
    bound: Bound,
    read: impl Fn(&[u8]) -> Result<T, E>,
) -> Report {
    assert!(!valid.is_empty(), "{format}: expected at least 1 valid file to mutate; found 0");
    allocations::assert_installed(format);
    for (number, file) in valid.iter().enumerate() {
        if let Err(error) = read(file) {
            panic!("{format}: the valid file {number} is rejected: {error}");
        }
    }
    let mut report = Report { files: files(), read: 0, rejected: 0, peak_bytes: 0, slowest: Duration::ZERO };
    let (alive, watch) = channel::<u64>();
    let name = format.to_string();
    let watchdog = std::thread::spawn(move || {
        let mut number = 0;
        loop {
            match watch.recv_timeout(HANGS) {
                Ok(begun) => number = begun,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: mutation {number} hangs");
                    std::process::abort();
                }
            }
        }
    });
    for number in 0..report.files as u64 {
        let file = mutated(valid, number);
        alive.send(number).expect("the watchdog receives while this end is open");
        let (begun, held) = (Instant::now(), allocations::begin());
        let result = catch_unwind(AssertUnwindSafe(|| read(&file).map(drop).map_err(drop)));
        let (took, most) = (begun.elapsed(), allocations::peak_since(held));
        let allowed = bound.of(&file);
        let what = || format!("{format}: mutation {number}, {} bytes,", file.len());
        match result {
            Err(_) => panic!("{} makes the reader panic", what()),
            Ok(Ok(())) => report.read += 1,
            Ok(Err(())) => report.rejected += 1,
        }
        assert!(took <= SLOWEST, "{} takes {took:?}; {SLOWEST:?} is allowed", what());
        assert!(most <= allowed, "{} holds {most} bytes; {allowed} are allowed", what());
        report.peak_bytes = report.peak_bytes.max(most);
        report.slowest = report.slowest.max(took);
    }
    drop(alive);
    watchdog.join().expect("the watchdog only waits");
    println!(
        "{format}: {} mutations, {} read, {} rejected; at most {} KiB held, slowest {:.1} ms",
        report.files,
        report.read,
        report.rejected,
        report.peak_bytes >> 10,
        report.slowest.as_secs_f64() * 1e3
    );
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    fn valid() -> Vec<Vec<u8>> {
        vec![(0..200).collect()]
    }

    #[test]
    fn results_and_memory_are_counted() {
        let even = |bytes: &[u8]| if bytes.len().is_multiple_of(2) { Ok(bytes.to_vec()) } else { Err("odd") };
        let report = survives("even", &valid(), Bound::bytes(0).and_of_file(2), even);
        assert_eq!(report.read + report.rejected, report.files);
        assert!(report.read > 100 && report.rejected > 100, "{report:?}");
        assert!(report.peak_bytes >= 100, "{report:?}");
    }

    #[test]
    #[should_panic(expected = "makes the reader panic")]
    fn a_panic_is_detected() {
        survives("first", &valid(), Bound::bytes(1 << 20), |bytes| {
            if bytes.first() == Some(&0) { Ok(()) } else { panic!("not zero: {}", String::new()) }
                .map_err(|()| "")
        });
    }

    #[test]
    #[should_panic(expected = "bytes; 1000 are allowed")]
    fn too_much_memory_is_detected() {
        let greedy =
            |bytes: &[u8]| Ok::<_, String>(vec![0_u8; bytes.first().map_or(0, |b| usize::from(*b) * 100)]);
        survives("greedy", &valid(), Bound::bytes(1_000), greedy);
    }
}
