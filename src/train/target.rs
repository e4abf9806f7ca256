//! What a file may be written over: a regular file, and never a device, a link, a pipe or a folder.

use super::checksums::{CONFIG_FILE, PUBLISHED_FOLDER};
use super::{MODEL_FILE, STATE_FILE, SaveError};
use crate::data::files::is_hidden;
use std::fs::FileType;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Fails if a file of this name would replace anything but a regular file.
///
/// # Errors
/// [`SaveError::NotReplaced`], which names what is there, or [`SaveError::Write`] if that cannot be known.
pub fn check_target(path: &Path) -> Result<(), SaveError> {
    let refuse =
        |found: String| SaveError::NotReplaced { path: path.into(), expected: "regular file", found };
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Ok(()),
        Ok(there) if there.is_symlink() => Err(refuse(match std::fs::read_link(path) {
            Ok(to) => format!("a symbolic link to {}", to.display()),
            Err(_) => "a symbolic link".into(),
        })),
        Ok(there) => Err(refuse(kind(there.file_type()).into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SaveError::Write { path: path.into(), source }),
    }
}

/// Fails if there is anything of this name.
///
/// # Errors
/// [`SaveError::Exists`].
pub fn check_new_file(path: &Path) -> Result<(), SaveError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(SaveError::Exists { path: path.into() }),
        Err(_) => Ok(()), // writing the file reports why that fails
    }
}

/// As [`check_target`], for tensors: a regular file there must be a safetensors file, or empty, and no file of a run.
///
/// # Errors
/// As for `check_target`, and [`SaveError::NotReplaced`] for a file of another format or of a run.
pub fn check_tensors_target(path: &Path) -> Result<(), SaveError> {
    check_target(path)?;
    if let Some(run) = run_of(path) {
        let found = format!("a file of the run {}", run.display());
        return Err(SaveError::NotReplaced {
            path: path.into(),
            expected: "file of vectors or tokens",
            found,
        });
    }
    let Ok(file) = std::fs::File::open(path) else { return Ok(()) };
    let mut beginning = Vec::new();
    // The length of the header, and the header, which is JSON.
    let read = file.take(9).read_to_end(&mut beginning);
    read.map_err(|source| SaveError::Read { path: path.into(), source })?;
    match beginning.is_empty() || beginning.len() == 9 && beginning[8] == b'{' {
        true => Ok(()),
        false => Err(SaveError::NotReplaced {
            path: path.into(),
            expected: "safetensors file",
            found: "a file of another format".into(),
        }),
    }
}

/// Fails if there is anything but a folder, or a link to one.
///
/// # Errors
/// [`SaveError::NotReplaced`], which names what is there.
pub fn check_folder(path: &Path) -> Result<(), SaveError> {
    let refuse = |found: &str| {
        Err(SaveError::NotReplaced { path: path.into(), expected: "folder", found: found.into() })
    };
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => Ok(()),
        Ok(there) => refuse(kind(there.file_type())),
        Err(_) if path.is_symlink() => refuse("a symbolic link to nothing"),
        // Whoever creates the folder says why that fails.
        Err(_) => Ok(()),
    }
}

/// The run folder that has this file among its own: its weights, its state, or a file of its published checkpoint.
fn run_of(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder).ok()?;
    let is_weights = path.file_name().is_some_and(|name| name == MODEL_FILE || name == STATE_FILE);
    let published = folder.ancestors().find(|above| above.ends_with(PUBLISHED_FOLDER)).and_then(Path::parent);
    let run = if is_weights { Some(&*folder) } else { None };
    let runs = [run, published].into_iter().flatten();
    runs.map(Path::to_path_buf).find(|run| run.join(CONFIG_FILE).is_file())
}

/// Fails if a folder has a file for which `may_stay` is not true, by its name. Hidden files stay.
///
/// # Errors
/// [`SaveError::NotEmpty`], which names the first; as for [`check_folder`]; [`SaveError::Read`] if it cannot be listed.
pub(crate) fn check_vacant(folder: &Path, may_stay: impl Fn(&str) -> bool) -> Result<(), SaveError> {
    check_folder(folder)?;
    let unreadable = |source| SaveError::Read { path: folder.into(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(unreadable)?,
    };
    let (mut first, mut others) = (None::<String>, 0);
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if is_hidden(&name) || may_stay(&name) {
            continue;
        }
        others += usize::from(first.is_some());
        first = Some(first.map_or(name.clone(), |first| first.min(name)));
    }
    let more = if others == 0 { String::new() } else { format!(" and {others} more") };
    first.map_or(Ok(()), |first| {
        Err(SaveError::NotEmpty { folder: folder.into(), found: format!("{first}{more}") })
    })
}

/// The type of a file, in words.
fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_char_device() {
            return "a character device";
        }
        if found.is_block_device() {
            return "a block device";
        }
        if found.is_fifo() {
            return "a named pipe";
        }
        if found.is_socket() {
            return "a socket";
        }
    }
    if found.is_dir() {
        "a folder"
    } else if found.is_file() {
        "a file"
    } else {
        "a special file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(checked: Result<(), SaveError>) -> String {
        checked.unwrap_err().to_string()
    }

    #[test]
    fn files_are_replaced_and_folders_are_not() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.txt");
        check_target(&file).unwrap();
        check_folder(&file).unwrap();
        std::fs::write(&file, "text").unwrap();
        check_target(&file).unwrap();
        assert!(refused(check_target(place.path())).contains("found a folder"));
        let message = refused(check_folder(&file));
        assert!(message.contains("expected a folder") && message.contains("found a file"), "{message}");
        check_folder(place.path()).unwrap();
    }

    #[test]
    fn tensors_replace_tensors_alone() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.txt");
        check_tensors_target(&file).unwrap();
        check_new_file(&file).unwrap();
        assert!(refused(check_new_file(place.path())).contains("exists; expected a new file"));
        for (bytes, replaced) in
            [(&b""[..], true), (b"\x02\0\0\0\0\0\0\0{}", true), (b"my notes, at length", false)]
        {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(check_tensors_target(&file).is_ok(), replaced, "{bytes:?}");
        }
    }

    #[test]
    fn tensors_do_not_replace_the_files_of_a_run() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        std::fs::create_dir_all(run.join("published/1_Dense")).unwrap();
        let tensors = b"\x02\0\0\0\0\0\0\0{}";
        let own = [MODEL_FILE, STATE_FILE, "published/unread.safetensors", "published/1_Dense/x.safetensors"];
        for name in own {
            std::fs::write(run.join(name), tensors).unwrap();
            check_tensors_target(&run.join(name)).unwrap();
        }
        std::fs::write(run.join(CONFIG_FILE), "").unwrap();
        for name in own {
            let message = refused(check_tensors_target(&run.join(name)));
            assert!(message.contains("a file of the run ") && message.contains(name), "{message}");
            std::fs::remove_file(run.join(name)).unwrap();
            refused(check_tensors_target(&run.join(name)));
        }
        check_tensors_target(&run.join("vectors.safetensors")).unwrap();
        check_tensors_target(&place.path().join(MODEL_FILE)).unwrap();
    }

    #[test]
    fn a_vacant_folder_holds_only_what_may_stay() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        check_vacant(&folder, |_| false).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(".gitattributes"), "").unwrap();
        check_vacant(&folder, |_| false).unwrap();
        for name in ["b.txt", "a.txt", "c.txt"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let message = refused(check_vacant(&folder, |name| name == "c.txt"));
        assert!(message.contains("out holds a.txt and 1 more") && message.contains("--out"), "{message}");
        check_vacant(&folder, |name| name.ends_with(".txt")).unwrap();
        assert!(refused(check_vacant(&folder.join("a.txt"), |_| true)).contains("found a file"));
    }

    #[cfg(unix)]
    #[test]
    fn devices_links_and_sockets_are_not_replaced() {
        assert!(refused(check_target(Path::new("/dev/null"))).contains("found a character device"));
        assert!(refused(check_folder(Path::new("/dev/null"))).contains("found a character device"));
        let place = tempfile::tempdir().unwrap();
        let (link, nowhere) = (place.path().join("link"), place.path().join("nowhere"));
        std::os::unix::fs::symlink(&nowhere, &link).unwrap();
        let message = refused(check_target(&link));
        assert!(message.contains("a symbolic link to ") && message.contains("nowhere"), "{message}");
        assert!(refused(check_folder(&link)).contains("a symbolic link to nothing"));
        let socket = place.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(refused(check_target(&socket)).contains("found a socket"));
    }
}
