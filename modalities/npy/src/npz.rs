//! NumPy's `.npz`: a zip archive of arrays.

use crate::{Array, holds_images};
use std::io::Cursor;
use zip::ZipArchive;

/// The arrays of an `.npz` file. The archive is indexed; an array is unpacked when it is read.
pub struct Npz<'a>(ZipArchive<Cursor<&'a [u8]>>);

impl<'a> Npz<'a> {
    /// Index an archive.
    ///
    /// # Errors
    /// If the bytes are not a zip archive.
    pub fn new(bytes: &'a [u8]) -> Result<Self, String> {
        ZipArchive::new(Cursor::new(bytes)).map(Self).map_err(|e| e.to_string())
    }

    /// The names of the arrays, sorted.
    pub fn names(&self) -> Vec<String> {
        let names = self.0.file_names().flatten();
        let mut names: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".npy")?.to_string())).collect();
        names.sort_unstable();
        names
    }

    /// Read an array whose elements take at most `limit` bytes.
    ///
    /// # Errors
    /// As of [`Array::read`], and if there is no array of this name.
    pub fn array(&mut self, name: &str, limit: u64) -> Result<Array, String> {
        let file = self.0.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
        Array::read(file, limit)
    }

    /// Whether an array has images: bytes with three or more axes.
    pub fn holds_images(&mut self, name: &str) -> bool {
        self.0.by_name(&format!("{name}.npy")).is_ok_and(holds_images)
    }
}
