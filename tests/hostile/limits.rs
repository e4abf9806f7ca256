//! Running a command under limits of memory and processor time, and measuring both.

use crate::support::command;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

/// Memory that the commands are told of, in MiB. Unpacking one file may take a quarter of it.
pub const MEMORY: u64 = 1024;
/// The largest address space of a command, in bytes: above it an allocation fails.
const ADDRESS_SPACE: u64 = 4 << 30;
/// Processor time of a command, in seconds, after which it is killed.
const SECONDS: u64 = 20;
/// The largest resident memory of a command, in MiB.
const PEAK: u64 = 700;

/// What a command under attack has done.
pub struct Outcome {
    pub code: Option<i32>,
    pub error: String,
    /// Peak of resident memory, in MiB.
    pub peak: u64,
    /// Processor time, in seconds.
    pub seconds: f64,
}

/// Run `smalti` in a folder with the words of `line` under the limits. `SMALTI_ATTACKED` names another program to attack.
pub fn attacked(folder: &Path, line: &str) -> Outcome {
    let program = std::env::var("SMALTI_ATTACKED").unwrap_or_else(|_| env!("CARGO_BIN_EXE_smalti").into());
    let mut command = command(&program, folder);
    command.args(line.split_whitespace()).env("SMALTI_MEMORY", MEMORY.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: two system calls, in the child before `exec`.
    unsafe {
        command.pre_exec(|| {
            for (resource, limit) in [(libc::RLIMIT_AS, ADDRESS_SPACE), (libc::RLIMIT_CPU, SECONDS)] {
                let limits = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                if libc::setrlimit(resource, &limits) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    #[allow(clippy::zombie_processes, reason = "wait4 below waits for it")]
    let mut process = command.spawn().unwrap();
    let mut error = Vec::new();
    process.stderr.take().unwrap().read_to_end(&mut error).unwrap();
    let mut status = 0;
    // SAFETY: both results are plain data, which the call fills; the process is a child that nothing else waits for.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        assert_eq!(
            libc::wait4(process.id().cast_signed(), &mut status, 0, &mut usage),
            process.id().cast_signed()
        );
        usage
    };
    let time = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Outcome {
        code: ExitStatus::from_raw(status).code(),
        error: String::from_utf8_lossy(&error).into_owned(),
        peak: usage.ru_maxrss as u64 / 1024,
        seconds: time(usage.ru_utime) + time(usage.ru_stime),
    }
}

/// Run an attack and print its line of the table. It must end by itself within the limits, with an error that has all
/// `expected` texts; an empty list means that the command must succeed.
pub fn withstands(name: &str, folder: &Path, line: &str, expected: &[&str]) {
    let Outcome { code, error, peak, seconds } = attacked(folder, line);
    let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let last: String = last.chars().take(160).collect();
    let code_text = code.map_or("killed".into(), |code| code.to_string());
    println!("| {name} | {code_text} | {peak} MiB | {seconds:.1} s | {last} |");
    if std::env::var_os("SMALTI_ATTACKED").is_some() {
        return; // another program is measured, not tested
    }
    let ended = if expected.is_empty() { code == Some(0) } else { matches!(code, Some(1 | 2)) };
    assert!(ended, "{name}: exit {code_text}: {error}");
    assert!(!error.contains("panicked") && !error.contains("please report"), "{name}: {error}");
    for text in expected {
        assert!(error.contains(text), "{name}: expected {text:?} in: {error}");
    }
    assert!(error.len() < 20_000, "{name}: an error of {} bytes", error.len());
    assert!(peak < PEAK, "{name}: {peak} MiB");
}
