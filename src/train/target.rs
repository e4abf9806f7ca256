//! What a file may be written over: a regular file, and never a device, a link, a pipe or a folder.

use super::SaveError;
use std::fs::FileType;
use std::io::{ErrorKind, Read};
use std::path::Path;

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

/// As [`check_target`], for tensors: a regular file there must be a safetensors file, or empty.
///
/// # Errors
/// As for `check_target`, and [`SaveError::NotReplaced`] for a file of another format.
pub fn check_tensors_target(path: &Path) -> Result<(), SaveError> {
    check_target(path)?;
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
        for (bytes, replaced) in
            [(&b""[..], true), (b"\x02\0\0\0\0\0\0\0{}", true), (b"my notes, at length", false)]
        {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(check_tensors_target(&file).is_ok(), replaced, "{bytes:?}");
        }
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
