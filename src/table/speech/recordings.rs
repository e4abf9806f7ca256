//! Recordings that a file names by their paths, some of them in Kaldi's archives: `wav.ark:17` is the WAV file at byte 17.

use crate::data::DataError;
use crate::data::files::{Extent, is_remote};
use crate::table::rows::RelativeFiles;

/// The most folders above a file in which its recordings are searched for: Kaldi's recipes write paths relative to the folder
/// of the recipe.
const LEVELS: usize = 4;

/// The recordings at paths relative to a folder or to one of the folders above it.
pub(super) struct Recordings {
    nearest: RelativeFiles,
    /// The nearest first.
    above: Vec<RelativeFiles>,
}

impl Recordings {
    /// The recordings below a folder.
    pub fn below(folder: &str) -> Self {
        Self { nearest: RelativeFiles::below(folder), above: vec![] }
    }

    /// The recordings below a folder or up to four folders above it.
    pub fn around(folder: &str) -> Self {
        let above = above(folder).iter().map(|folder| RelativeFiles::below(folder)).collect();
        Self { above, ..Self::below(folder) }
    }

    /// The same recordings, and if allowed those at absolute paths and above the folders, on disk.
    pub fn allow_outside(self, allow: bool) -> Self {
        Self { nearest: self.nearest.allow_outside(allow), ..self }
    }

    /// The bytes of the recording that a row names.
    ///
    /// # Errors
    /// [`DataError::Missing`] if no folder has it; [`DataError::Path`] for a path out of all folders; the errors of reading it,
    /// also for a place in an archive that has no WAV file.
    pub fn read(&self, path: &str, row: &str) -> Result<Vec<u8>, DataError> {
        match place_in_archive(path) {
            None => self.find(path, |folder, path| folder.read(path, row)),
            Some((archive, at)) => {
                let archive = self.find(archive, |folder, path| folder.extent(path, row))?;
                let wav = wav_at(&archive, at).map_err(|e| DataError::io(path, "a recording", e))?;
                let problem = "expected a WAV file of known length at this byte of the archive; found none; write the \
                               recordings to WAV or FLAC files and name these";
                wav.ok_or_else(|| DataError::tokenize(row, format!("{path}: {problem}")))
            }
        }
    }

    /// Gets a file from the first folder that has it.
    fn find<T>(
        &self,
        path: &str,
        get: impl Fn(&RelativeFiles, &str) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        if let Some((top, path)) = self.below_top(path) {
            return get(top, path);
        }
        let first = get(&self.nearest, path);
        for folder in &self.above {
            if !matches!(first, Err(DataError::Missing { .. })) {
                break;
            }
            match get(folder, path) {
                Err(DataError::Missing { .. }) => {}
                found => return found,
            }
        }
        first.map_err(|error| match error {
            DataError::Missing { location, expected } if !self.above.is_empty() => {
                let expected = format!("{expected}, there or in one of {} folders above", self.above.len());
                DataError::Missing { location, expected }
            }
            other => other,
        })
    }

    /// The location of a recording, its size and its time of change; `None` if that is not known.
    pub fn origin(&self, path: &str) -> Option<String> {
        if let Some((archive, at)) = place_in_archive(path) {
            return Some(format!("{} at byte {at}", self.origin(archive)?));
        }
        if let Some((top, path)) = self.below_top(path) {
            return top.origin(path);
        }
        std::iter::once(&self.nearest).chain(&self.above).find_map(|folder| folder.origin(path))
    }

    /// An absolute path below the topmost folder, relative to it.
    fn below_top<'a>(&self, path: &'a str) -> Option<(&RelativeFiles, &'a str)> {
        let top = self.above.last()?;
        Some((top, path.strip_prefix(top.folder())?))
    }
}

/// The archive and the byte that a path of Kaldi names, such as `wav.ark:17`.
fn place_in_archive(path: &str) -> Option<(&str, u64)> {
    let (archive, at) = path.rsplit_once(':').filter(|(archive, _)| archive.ends_with(".ark"))?;
    Some((archive, at.parse().ok()?))
}

/// The WAV file that begins at a byte, if there is one with a known length.
fn wav_at(archive: &Extent, at: u64) -> std::io::Result<Option<Vec<u8>>> {
    const HEADER: usize = 12;
    let Some(header) = archive.slice(at, HEADER as u64) else { return Ok(None) };
    let header: Vec<u8> = header.read()?;
    let [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'A', b'V', b'E'] = header[..] else { return Ok(None) };
    // The length counts the bytes after itself.
    let wav = archive.slice(at, u64::from(u32::from_le_bytes([a, b, c, d])) + 8);
    wav.filter(|wav| wav.len() >= HEADER as u64).map(|wav| wav.read()).transpose()
}

/// The folders above a folder, the nearest first.
fn above(folder: &str) -> Vec<String> {
    let on_disk = !is_remote(folder) && !folder.starts_with("builtin:");
    let absolute = match on_disk {
        true => std::path::absolute(if folder.is_empty() { "." } else { folder }).ok(),
        false => None,
    };
    let folder = absolute.as_deref().and_then(|path| path.to_str()).unwrap_or(folder);
    let start = folder.find("://").map_or(0, |at| at + "://".len());
    let (mut rest, mut found) = (folder.trim_end_matches('/'), vec![]);
    while let Some(end) =
        rest.get(start..).and_then(|below| below.rfind('/')).filter(|_| found.len() < LEVELS)
    {
        rest = &rest[..start + end];
        found.push(format!("{rest}/"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_file_lies_in_an_archive() {
        let wav = |length: u32| [b"RIFF", &length.to_le_bytes()[..], b"WAVEdata"].concat();
        let read = |wav: &[u8], at: u64| {
            wav_at(&Extent::memory([b"id ", wav, b"more"].concat().into()), at).unwrap()
        };
        assert_eq!(read(&wav(8), 3), Some(wav(8)));
        for (length, at) in [(8, 0), (8, 4), (100, 3), (u32::MAX, 3), (0, 3), (8, u64::MAX)] {
            assert_eq!(read(&wav(length), at), None, "{length} bytes at {at}");
        }
        assert_eq!(place_in_archive("a/wav.ark:17"), Some(("a/wav.ark", 17)));
        assert!(
            ["a.ark", "a.wav:17", "a.ark:x", "a.ark:-1"].iter().all(|path| place_in_archive(path).is_none())
        );
    }

    #[test]
    fn the_folders_above_are_listed_from_the_nearest() {
        assert_eq!(above("/a/b/c.tar/d/e/"), ["/a/b/c.tar/d/", "/a/b/c.tar/", "/a/b/", "/a/"]);
        assert_eq!(above("/a"), ["/"]);
        assert_eq!(above("s3://bucket/a/b/"), ["s3://bucket/a/", "s3://bucket/"]);
        assert_eq!(above("builtin:a/b/"), ["builtin:a/"]);
        assert!(above("/").is_empty() && above("builtin:").is_empty() && above("s3://").is_empty());
        assert!(!above("").is_empty());
    }
}
