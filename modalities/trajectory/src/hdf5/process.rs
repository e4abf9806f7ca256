//! A process of its own for the C library: this program over again, asked by its first argument to read one file and to
//! write its episodes as JSON lines to its standard output. What a damaged file does to the library is an error here.

use crate::{Episode, TrajectoryError, jsonl};
use std::ffi::OsStr;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;

/// What a program that [`serve`]s is asked by.
const ASKED: &str = "read-hdf5";
/// The program, once it is known that it serves.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// To be called first in `main`: reads a file, where this process was started to do so, and gives the code to exit with.
/// Otherwise notes that this program can be started so, and gives `None`.
pub fn serve() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ASKED)) {
        if let Ok(program) = std::env::current_exe() {
            // A second call changes nothing.
            let _ = PROGRAM.set(program);
        }
        return None;
    }
    let file = arguments.next().unwrap_or_default();
    match answer(Path::new(&file)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(problem) => {
            eprint!("{problem}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn answer(file: &Path) -> Result<(), String> {
    limit(file.metadata().map_err(|e| e.to_string())?.len()).map_err(|e| e.to_string())?;
    let episodes = super::read(file).map_err(|e| e.to_string())?;
    let mut out = BufWriter::new(stdout().lock());
    jsonl::write(&mut out, &episodes).and_then(|()| out.flush()).map_err(|e| e.to_string())
}

/// Limits this process to 4 GiB of addresses and 1 KiB for each byte of the file, and to a minute of work and a second
/// for each MiB.
#[cfg(unix)]
fn limit(size: u64) -> std::io::Result<()> {
    let limits = [
        (libc::RLIMIT_AS, (4 << 30) + (size << 10)),
        (libc::RLIMIT_CPU, 60 + (size >> 20)),
        (libc::RLIMIT_CORE, 0),
    ];
    for (what, most) in limits {
        let most = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the structure lives through the call, which reads it.
        if unsafe { libc::setrlimit(what, &most) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn limit(_size: u64) -> std::io::Result<()> {
    Ok(())
}

/// The episodes of a file, read by a process of its own.
///
/// # Errors
/// Those of [`read`](super::read) in its words; how the process ended, where it did not live to say; and where this
/// program does not begin with [`serve`].
pub fn read_apart(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    match lines(bytes) {
        Ok(lines) => jsonl::read(&lines),
        Err(problem) => Err(TrajectoryError::Hdf5(problem)),
    }
}

fn lines(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let program = PROGRAM.get().ok_or(
        "it is read by a process of its own, for which the program must begin with smalti_trajectory::hdf5::serve",
    )?;
    let mut file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    file.write_all(bytes).map_err(|e| e.to_string())?;
    let read = Command::new(program)
        .arg(ASKED)
        .arg(file.path())
        // No plug-ins: a file must not choose what code is loaded.
        .env("HDF5_PLUGIN_PRELOAD", "::")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    match read.status.code() {
        Some(0) => Ok(read.stdout),
        Some(1) => Err(String::from_utf8_lossy(&read.stderr).trim_start_matches("HDF5: ").to_string()),
        _ => Err(format!("the process that reads it was ended: {}", ended(read.status))),
    }
}

fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    match std::os::unix::process::ExitStatusExt::signal(&status) {
        Some(libc::SIGXCPU) => return "it took too long".into(),
        Some(libc::SIGABRT) => return "it gave up, or ran out of memory".into(),
        Some(libc::SIGSEGV | libc::SIGBUS) => return "it read memory that is not its own".into(),
        _ => {}
    }
    status.to_string()
}
