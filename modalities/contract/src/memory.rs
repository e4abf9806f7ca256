//! Memory at hand, and the share of it that unpacking one file may take.
//!
//! A reader never allocates because a file says so: a size that a file states is held against [`unpack_limit`] first, and
//! compressed data is read through [`Limited`], which stops at the limit.

use std::io::{self, Read};
use std::sync::OnceLock;

/// The environment variable that states the memory to use, in MiB; without it, the memory at hand is measured.
pub const VARIABLE: &str = "SMALTI_MEMORY";

const MIB: u64 = 1 << 20;

/// Return the memory that this process may use, in bytes.
///
/// [`VARIABLE`] states it. Otherwise it is the smallest of the machine's memory, the limit of the control group and the limit
/// of the address space, or 8 GiB where the system tells none of the three.
pub fn at_hand() -> u64 {
    static AT_HAND: OnceLock<u64> = OnceLock::new();
    *AT_HAND.get_or_init(|| stated().or_else(measured).unwrap_or(8192 * MIB))
}

/// Return the largest size that one file may unpack to, in bytes: a quarter of the memory at hand.
pub fn unpack_limit() -> u64 {
    at_hand() / 4
}

/// Describe [`unpack_limit`] with the setting that raises it, for the end of an error message.
pub fn describe_limit() -> String {
    format!(
        "the limit is {} MiB, a quarter of the memory at hand; {VARIABLE} (in MiB) states another amount of memory",
        unpack_limit() / MIB
    )
}

/// A reader that fails at [`unpack_limit`] bytes.
pub struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Limited<R> {
    /// Limit a reader of unpacked data.
    pub fn new(inner: R) -> Self {
        Limited { inner, left: unpack_limit() }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(too_large)?;
        Ok(n)
    }
}

/// Check a size that a file states, in bytes, before anything of this size is allocated.
///
/// # Errors
/// If the size is above [`unpack_limit`].
pub fn check(size: u64) -> io::Result<()> {
    if size > unpack_limit() { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it unpacks to too much: {}", describe_limit()))
}

fn stated() -> Option<u64> {
    std::env::var(VARIABLE).ok()?.trim().parse::<u64>().ok()?.checked_mul(MIB).filter(|&bytes| bytes > 0)
}

fn measured() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |text: String| text.trim().parse::<u64>().ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        text.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
    });
    let address_space = read("/proc/self/limits").and_then(|text| {
        text.lines().find_map(|line| {
            line.strip_prefix("Max address space")?.split_whitespace().next()?.parse::<u64>().ok()
        })
    });
    let groups = [own_group().unwrap_or_default(), String::new()];
    let paths = groups.iter().map(|group| format!("/sys/fs/cgroup{group}/memory.max"));
    let old = "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned();
    let group = paths.chain([old]).filter_map(|path| read(&path).and_then(number)).min();
    [machine.map(|kib| kib * 1024), address_space, group].into_iter().flatten().min()
}

/// Return the path of this process's control group (version 2).
fn own_group() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| *path != "/").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_limit() {
        let mut reader = Limited { inner: io::repeat(7), left: 100_000 };
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("SMALTI_MEMORY"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_size_is_checked_before_it_is_allocated() {
        assert!(check(1 << 10).is_ok());
        assert!(check(u64::MAX).is_err());
        assert!(unpack_limit() >= MIB && unpack_limit() <= at_hand());
    }
}
