//! Damaged files for tests of readers.
//!
//! A reader must answer every file, however damaged, with a value or an error: it may not panic, hang, or ask for
//! more memory than a stated bound. [`survives`] holds it to that on thousands of mutations of good files, each a
//! pure function of its number, so that a failure names what brings it back.
//!
//! ```
//! use smalti_mutation::{Bound, survives};
//!
//! #[global_allocator]
//! static ALLOCATOR: smalti_mutation::Counting = smalti_mutation::Counting;
//!
//! let number = |bytes: &[u8]| std::str::from_utf8(bytes).map_err(|e| e.to_string())?.parse::<i32>().map_err(|e| e.to_string());
//! let report = survives("a number", &[b"1234".to_vec()], Bound::bytes(1 << 20), number);
//! assert_eq!(report.read + report.refused, report.files);
//! ```
//!
//! How many files are tried is [`files`]: 2,000, or what the environment variable `SMALTI_MUTATIONS` says. The bound
//! on memory holds only where a test binary installs [`Counting`] as its allocator; [`survives`] insists on it.

mod allocations;
mod mutate;

pub use allocations::Counting;
pub use mutate::mutated;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The longest that a reader may take over one small file.
const SLOWEST: Duration = Duration::from_secs(10);
/// After this, a reader counts as hanging and the process is ended.
const HANGS: Duration = Duration::from_secs(60);

/// How much memory a reader may hold at once.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    fixed: usize,
    of_file: usize,
}

impl Bound {
    /// So many bytes, whatever the file.
    pub fn bytes(fixed: usize) -> Self {
        Self { fixed, of_file: 0 }
    }

    /// And so many more for each byte of the file.
    pub fn and_of_file(self, times: usize) -> Self {
        Self { of_file: times, ..self }
    }

    fn of(self, file: &[u8]) -> usize {
        self.fixed + self.of_file * file.len()
    }
}

/// What became of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Files tried.
    pub files: usize,
    /// Those that were read in spite of the damage.
    pub read: usize,
    /// Those that were refused with an error.
    pub refused: usize,
    /// The most bytes that the reader held at once.
    pub most_bytes: usize,
    /// The longest that one file took.
    pub slowest: Duration,
}

/// How many mutations of each format are tried: 2,000, or what `SMALTI_MUTATIONS` says.
pub fn files() -> usize {
    std::env::var("SMALTI_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

/// Gives a reader [`files`] mutations of good files, and prints and returns what became of them.
///
/// The reader must take each good file as it is. What it does on threads of its own is not counted as memory.
///
/// # Panics
/// Where the reader panics, refuses a good file, takes longer than 10 s or holds more memory than `bound`; the message
/// names the mutation.
pub fn survives<T, E: Display>(
    format: &str,
    good: &[Vec<u8>],
    bound: Bound,
    read: impl Fn(&[u8]) -> Result<T, E>,
) -> Report {
    assert!(!good.is_empty(), "{format}: there is no good file to damage");
    allocations::insist(format);
    for (number, file) in good.iter().enumerate() {
        if let Err(error) = read(file) {
            panic!("{format}: the good file {number} is refused: {error}");
        }
    }
    let mut report = Report { files: files(), read: 0, refused: 0, most_bytes: 0, slowest: Duration::ZERO };
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
        let file = mutated(good, number);
        alive.send(number).expect("the watchdog listens as long as this end is open");
        let (begun, held) = (Instant::now(), allocations::begin());
        let result = catch_unwind(AssertUnwindSafe(|| read(&file).map(drop).map_err(drop)));
        let (took, most) = (begun.elapsed(), allocations::most_since(held));
        let allowed = bound.of(&file);
        let what = || format!("{format}: mutation {number}, {} bytes,", file.len());
        match result {
            Err(_) => panic!("{} makes the reader panic", what()),
            Ok(Ok(())) => report.read += 1,
            Ok(Err(())) => report.refused += 1,
        }
        assert!(took <= SLOWEST, "{} takes {took:?}; {SLOWEST:?} is allowed", what());
        assert!(most <= allowed, "{} holds {most} bytes; {allowed} are allowed", what());
        report.most_bytes = report.most_bytes.max(most);
        report.slowest = report.slowest.max(took);
    }
    drop(alive);
    watchdog.join().expect("the watchdog only waits");
    println!(
        "{format}: {} mutations, {} read, {} refused; at most {} KiB held, slowest {:.1} ms",
        report.files,
        report.read,
        report.refused,
        report.most_bytes >> 10,
        report.slowest.as_secs_f64() * 1e3
    );
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    fn good() -> Vec<Vec<u8>> {
        vec![(0..200).collect()]
    }

    #[test]
    fn what_a_reader_does_is_counted() {
        let even = |bytes: &[u8]| if bytes.len().is_multiple_of(2) { Ok(bytes.to_vec()) } else { Err("odd") };
        let report = survives("even", &good(), Bound::bytes(0).and_of_file(2), even);
        assert_eq!(report.read + report.refused, report.files);
        assert!(report.read > 100 && report.refused > 100, "{report:?}");
        assert!(report.most_bytes >= 100, "{report:?}");
    }

    #[test]
    #[should_panic(expected = "makes the reader panic")]
    fn a_panic_is_found() {
        survives("first", &good(), Bound::bytes(1 << 20), |bytes| {
            if bytes.first() == Some(&0) { Ok(()) } else { panic!("not zero: {}", String::new()) }
                .map_err(|()| "")
        });
    }

    #[test]
    #[should_panic(expected = "bytes; 1000 are allowed")]
    fn a_greedy_reader_is_found() {
        let greedy =
            |bytes: &[u8]| Ok::<_, String>(vec![0_u8; bytes.first().map_or(0, |b| usize::from(*b) * 100)]);
        survives("greedy", &good(), Bound::bytes(1_000), greedy);
    }
}
