//! The one writer of a run folder.

use super::SaveError;
use super::target::{check_folder, check_target};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Result as IoResult, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The file in a run folder that its writer locks; it names process and host while the run is written.
pub const LOCK_FILE: &str = "run.lock";

/// The right to write a run folder, of one process at a time. The system takes the lock back when the process ends, however it
/// ends. Reading needs no right.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    file: File,
    /// Whether the folder was missing or empty before.
    is_new: bool,
    doubt: Option<String>,
}

/// The process that writes.
#[derive(Serialize, Deserialize)]
struct Holder {
    process: u32,
    host: String,
}

/// Most bytes of a file that names a process.
const MOST_BYTES: u64 = 1024;

impl Writer {
    /// Locks a run folder, which is created if it is missing.
    ///
    /// # Errors
    /// [`SaveError::Locked`] if another process writes it, [`SaveError::NotReplaced`] if it is no folder, or
    /// [`SaveError::Write`].
    pub fn lock(folder: &Path) -> Result<Self, SaveError> {
        check_folder(folder)?;
        let path = folder.join(LOCK_FILE);
        let failed = |source| SaveError::Write { path: path.clone(), source };
        let is_new = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        std::fs::create_dir_all(folder).map_err(|source| SaveError::Write { path: folder.into(), source })?;
        check_target(&path)?;
        let options = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options().map_err(failed)?;
        let host = host();
        let locks = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                let holder = read(&mut file).map_or("another process".into(), |holder| holder.named(&host));
                return Err(SaveError::Locked { folder: folder.into(), holder });
            }
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => false,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        let doubt = match read(&mut file) {
            _ if !locks => {
                Some("this file system has no locks, so another training there is not noticed".into())
            }
            Some(before) if before.host != host => Some(format!(
                "its last writer, {}, did not end in order; if it still runs, stop one of the two: a network file system may \
                 not share its locks",
                before.named(&host)
            )),
            _ => None,
        };
        let doubt = doubt.map(|doubt| format!("{}: {doubt}", path.display()));
        let holder = Holder { process: std::process::id(), host };
        let json = serde_json::to_vec(&holder).unwrap_or_default();
        rewrite(&mut file, &json).map_err(failed)?;
        Ok(Self { folder: folder.into(), file, is_new, doubt })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the lock cannot exclude, in words: another process on a file system without locks, or on another host.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Removes the folder if it was made for this training, which has made no step.
    pub(crate) fn discard(self) {
        if self.is_new {
            // A folder that stays can be used again, so a failure is no further error.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The file names no process once its writer has ended in order.
impl Drop for Writer {
    fn drop(&mut self) {
        let _ = rewrite(&mut self.file, b"");
    }
}

impl Holder {
    /// The process, as seen from `here`.
    fn named(&self, here: &str) -> String {
        match self.host == here {
            true => self.to_string(),
            false => format!("{self}, another host than this one, {here}"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let host: String = self.host.chars().filter(|c| !c.is_control()).collect();
        write!(f, "process {} on host {host}", self.process)
    }
}

/// The process that a lock file names.
fn read(file: &mut File) -> Option<Holder> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn rewrite(file: &mut File, bytes: &[u8]) -> IoResult<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytes)
}

/// The name of this host.
fn host() -> String {
    #[cfg(unix)]
    {
        let mut name = [0_u8; 256];
        // SAFETY: the system writes at most as many bytes as the array has.
        let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
        let end = name.iter().position(|byte| *byte == 0);
        if let (0, Some(end)) = (failed, end) {
            return String::from_utf8_lossy(&name[..end]).into_owned();
        }
    }
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_and_learns_of_the_first() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        let first = Writer::lock(&folder).unwrap();
        assert_eq!(first.doubt(), None);
        let message = Writer::lock(&folder).unwrap_err().to_string();
        let expected = format!("process {} on host {}", std::process::id(), host());
        assert!(message.contains(&expected), "expected {expected:?} in {message}");
        drop(first);
        Writer::lock(&folder).unwrap();
        assert_eq!(std::fs::read(folder.join(LOCK_FILE)).unwrap(), b"", "it names nobody afterwards");
    }

    #[test]
    fn a_writer_of_another_host_that_did_not_end_is_told() {
        let place = tempfile::tempdir().unwrap();
        let lock = place.path().join(LOCK_FILE);
        std::fs::write(&lock, br#"{"process": 7, "host": "there"}"#).unwrap();
        let writer = Writer::lock(place.path()).unwrap();
        assert!(
            writer.doubt().unwrap().contains("process 7 on host there, another host than"),
            "{:?}",
            writer.doubt()
        );
        drop(writer);
        for damaged in [&b"\xff\xfe"[..], &[b'['; 100_000]] {
            std::fs::write(&lock, damaged).unwrap();
            assert_eq!(Writer::lock(place.path()).unwrap().doubt(), None);
        }
    }

    #[test]
    fn only_a_folder_that_was_made_for_it_is_discarded() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("mine.txt"), "text").unwrap();
        Writer::lock(place.path()).unwrap().discard();
        assert!(place.path().join("mine.txt").exists());
        let folder = place.path().join("a/run");
        Writer::lock(&folder).unwrap().discard();
        assert!(!folder.exists());
    }
}
