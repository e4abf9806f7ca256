//! Folders for damaged files, and tables that are read from them.

use smalti::data::DataError;
use smalti::table::{Source, SourceRegistry};
use std::path::PathBuf;
use tempfile::TempDir;

pub const MIB: usize = 1 << 20;

/// A folder for damaged files, one after another.
pub struct Place {
    pub folder: TempDir,
    file: PathBuf,
}

impl Place {
    pub fn new(name: &str) -> Self {
        Self::beside(name, &[])
    }

    /// A folder with other files, which stay as they are.
    pub fn beside(name: &str, others: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in others.iter().chain(&[(name, &b""[..])]) {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Self { file: folder.path().join(name), folder }
    }

    pub fn with(&self, bytes: &[u8]) -> &str {
        std::fs::write(&self.file, bytes).unwrap();
        self.file.to_str().unwrap()
    }

    pub fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

/// Open a source as a table, and read all values except the files that it names.
pub fn rows(location: &str) -> Result<(), DataError> {
    let table = SourceRegistry::builtin().open(&Source::new(location))?;
    for row in 0..table.len() {
        table.fields().iter().try_for_each(|field| table.peek(row, field).map(drop))?;
    }
    Ok(())
}

pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Silence the panics of the decoders of Parquet and Arrow, which their readers catch.
pub fn silence_decoders() {
    std::panic::set_hook(Box::new(|_| {}));
}
