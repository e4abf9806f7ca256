//! Running the C library in a separate process: this program again, whose first argument makes it read one file and
//! write its episodes as JSON lines to standard output. A crash of the library is then an error.

use crate::{Episode, TrajectoryError, jsonl};
use std::ffi::OsStr;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;

/// The first argument of the subprocess.
const ARGUMENT: &str = "read-hdf5";
/// The program's path, set by [`serve`].
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Must be called first in `main`. If this process was started to read a file, read it and return the exit code.
/// Otherwise register this program for [`read_in_subprocess`] and return `None`.
pub fn serve() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        if let Ok(program) = std::env::current_exe() {
            // A second call has no effect.
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

/// Limit this process to 4 GiB of address space plus 1 KiB for each byte of the file, and to one minute of CPU time
/// plus one second for each MiB.
#[cfg(unix)]
fn limit(size: u64) -> std::io::Result<()> {
    let limits = [
        (libc::RLIMIT_AS, (4 << 30) + (size << 10)),
        (libc::RLIMIT_CPU, 60 + (size >> 20)),
        (libc::RLIMIT_CORE, 0),
    ];
    for (what, most) in limits {
        let most = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the structure outlives the call, which only reads it.
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

/// Read the episodes of a file in a separate process.
///
/// # Errors
/// Errors of [`read`](super::read), with their message; if the process crashes; and if `main` does not begin with
/// [`serve`].
pub fn read_in_subprocess(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    match lines(bytes) {
        Ok(lines) => jsonl::read(&lines),
        Err(problem) => Err(TrajectoryError::Hdf5(problem)),
    }
}

fn lines(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let program = PROGRAM
        .get()
        .ok_or("reading needs a subprocess, for which main must begin with smalti_trajectory::hdf5::serve")?;
    let mut file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    file.write_all(bytes).map_err(|e| e.to_string())?;
    let read = Command::new(program)
        .arg(ARGUMENT)
        .arg(file.path())
        // No plug-ins: a file must not choose the code that is loaded.
        .env("HDF5_PLUGIN_PRELOAD", "::")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    match read.status.code() {
        Some(0) => Ok(read.stdout),
        Some(1) => Err(String::from_utf8_lossy(&read.stderr).trim_start_matches("HDF5: ").to_string()),
        _ => Err(format!("the subprocess crashed: {}", ended(read.status))),
    }
}

fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    match std::os::unix::process::ExitStatusExt::signal(&status) {
        Some(libc::SIGXCPU) => return "it took too long".into(),
        Some(libc::SIGABRT) => return "it aborted, or ran out of memory".into(),
        Some(libc::SIGSEGV | libc::SIGBUS) => return "it accessed invalid memory".into(),
        _ => {}
    }
    status.to_string()
}
