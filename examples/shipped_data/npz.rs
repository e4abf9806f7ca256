//! Writes arrays in the format of NumPy's `savez_compressed`, the same bytes in every build.
//!
//! A zip crate would compress with the backend that the features of the whole build select, and the bytes differ between
//! backends and, for some, processors. So DEFLATE is by one crate in integer arithmetic, and the container is written here:
//! a local header and the data of each file, the central directory, and its end record (PKWARE's APPNOTE 6.3.10, 4.3).

use npyz::WriterBuilder;
use std::io;

/// The fields after the signature: version 2.0 needed, no flags, DEFLATE, midnight of 1980-01-01.
const METHOD: [u8; 10] = [20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];

/// An archive of named arrays, in the order in which they are added.
#[derive(Default)]
pub struct Npz {
    files: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Npz {
    /// Adds the array `name` of this shape, row-major.
    ///
    /// # Errors
    /// If the number of `values` does not match the shape, or the archive exceeds 4 GiB.
    pub fn add<T: npyz::AutoSerialize + Copy>(
        &mut self,
        name: &str,
        shape: &[u64],
        values: &[T],
    ) -> io::Result<()> {
        let mut npy = Vec::new();
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut npy).begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()?;

        let name = npyz::npz::file_name_from_array_name(name);
        let data = miniz_oxide::deflate::compress_to_vec(&npy, 9);
        let mut entry = METHOD.to_vec();
        entry.extend(crc32fast::hash(&npy).to_le_bytes());
        entry.extend(length(data.len())?);
        entry.extend(length(npy.len())?);
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([0; 2]); // no extra field

        self.directory.extend(b"PK\x01\x02\x14\x03"); // written by version 2.0, on Unix
        self.directory.extend(&entry);
        self.directory.extend([0; 6]); // no comment, first disk, not text
        self.directory.extend((0o100644u32 << 16).to_le_bytes());
        self.directory.extend(length(self.files.len())?);
        self.directory.extend(name.as_bytes());

        self.files.extend(b"PK\x03\x04");
        self.files.extend(&entry);
        self.files.extend(name.as_bytes());
        self.files.extend(&data);
        self.count += 1;
        Ok(())
    }

    /// The archive's bytes.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        let end = [&length(self.directory.len())?[..], &length(self.files.len())?, &[0; 2]].concat();
        self.files.append(&mut self.directory);
        self.files.extend(b"PK\x05\x06\0\0\0\0");
        self.files.extend([self.count, self.count].map(u16::to_le_bytes).as_flattened());
        self.files.extend(end);
        Ok(self.files)
    }
}

/// A length or an offset in the format: 4 bytes, little-endian.
fn length(bytes: usize) -> io::Result<[u8; 4]> {
    Ok(u32::try_from(bytes).map_err(io::Error::other)?.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    #[test]
    fn other_crates_read_the_arrays() {
        let mut npz = Npz::default();
        npz.add("obs", &[2, 2], &[1.0f32, 2.0, 3.0, -4.5]).unwrap();
        npz.add("actions", &[300], &[7i64; 300]).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(npz.finish().unwrap())).unwrap();
        assert_eq!(archive.len(), 2);

        // Reading to the end checks the CRC too.
        let mut bytes = Vec::new();
        archive.by_name("obs.npy").unwrap().read_to_end(&mut bytes).unwrap();
        let obs = npyz::NpyFile::new(bytes.as_slice()).unwrap();
        assert_eq!(obs.shape(), [2, 2]);
        assert_eq!(obs.into_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, -4.5]);

        bytes.clear();
        archive.by_name("actions.npy").unwrap().read_to_end(&mut bytes).unwrap();
        let actions = npyz::NpyFile::new(bytes.as_slice()).unwrap();
        assert_eq!(actions.into_vec::<i64>().unwrap(), [7; 300]);
    }

    #[test]
    fn a_shape_must_hold_the_values() {
        assert!(Npz::default().add("obs", &[2, 2], &[1.0f32; 3]).is_err());
    }
}
