//! Saved tensors: written whole or not at all.

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, View};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io::Write,
    path::{Path, PathBuf},
};

/// A file that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The disk refused. What stood there before is as it was.
    #[error("cannot write {}: {source}; what was saved before is unharmed", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is missing or cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not a {expected}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The tensor library refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The beginning of the name of a file that is being written.
const UNFINISHED: &str = ".unfinished-";

/// Writes a file whole or not at all: into a new file beside it, which then takes its name.
///
/// # Errors
/// [`SaveError::Write`]; the file that stood there before is as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    let attempt = || {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)] // as any other new file: the user's mask decides who may read it
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(UNFINISHED).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // The new name itself survives a power cut only once the folder is on the disk.
        std::fs::File::open(folder)?.sync_all()
    };
    attempt().map_err(|source| SaveError::Write { path: path.into(), source })
}

/// Removes what a killed process left half written in a folder.
///
/// # Errors
/// [`SaveError::Read`] where the folder cannot be listed.
pub fn remove_unfinished(folder: &Path) -> Result<(), SaveError> {
    let failed = |source| SaveError::Read { path: folder.into(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Writes f32 tensors and a few named texts as one safetensors file, whole or not at all.
///
/// # Errors
/// [`SaveError::Write`], or the tensor library's.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    texts: &BTreeMap<String, String>,
) -> Result<(), SaveError> {
    let views = tensors.iter().map(|(name, tensor)| {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok((name.as_str(), Stored { shape: tensor.dims().to_vec(), bytes }))
    });
    let views = views.collect::<candle_core::Result<Vec<_>>>()?;
    // As one value, because the format's writer puts several in any order, and equal states have equal bytes.
    let header = serde_json::to_string(texts).map(|json| HashMap::from([(TEXTS.to_string(), json)]));
    let bytes = safetensors::serialize(views, header.ok()).map_err(|e| SaveError::Format {
        path: path.into(),
        expected: "safetensors file",
        problem: e.to_string(),
    })?;
    write_atomically(path, &bytes)
}

/// The error of a file whose tensors are not those of the model.
pub fn misfit(path: &Path, error: candle_core::Error) -> SaveError {
    let problem = match error {
        candle_core::Error::Msg(message) => message,
        other => other.to_string(),
    };
    SaveError::Format { path: path.into(), expected: "file of this model's weights", problem }
}

/// Tensors and texts, by name.
pub type Saved = (HashMap<String, Tensor>, BTreeMap<String, String>);

/// The one key of the file's own metadata.
const TEXTS: &str = "smalti";

/// Reads what [`save`] wrote: tensors and texts.
///
/// # Errors
/// [`SaveError::Read`] or [`SaveError::Format`], which name the file.
pub fn load(path: &Path, device: &Device) -> Result<Saved, SaveError> {
    let bytes = std::fs::read(path).map_err(|source| SaveError::Read { path: path.into(), source })?;
    let malformed = |problem: String| SaveError::Format {
        path: path.into(),
        expected: "safetensors file of f32 tensors",
        problem,
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| malformed(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(malformed(format!("tensor {name} is {:?}", view.dtype())));
        }
        let (words, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        tensors.insert(name.to_string(), Tensor::from_vec(values, view.shape(), device)?);
    }
    let texts = header.metadata().as_ref().and_then(|texts| texts.get(TEXTS));
    let texts =
        texts.map(|json| serde_json::from_str(json).map_err(|e| malformed(e.to_string()))).transpose()?;
    Ok((tensors, texts.unwrap_or_default()))
}

struct Stored {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_texts_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensor = Tensor::new(&[[1.5_f32, -0.0], [f32::MIN_POSITIVE, 3e8]], &Device::Cpu).unwrap();
        let texts = BTreeMap::from([("step".to_string(), "7".to_string())]);
        save(&path, &BTreeMap::from([("a.b".to_string(), tensor.clone())]), &texts).unwrap();
        let (tensors, read) = load(&path, &Device::Cpu).unwrap();
        assert_eq!(tensors["a.b"].to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        assert_eq!(read, texts);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for bytes in [&b""[..], b"PK\x03\x04", &[255; 64]] {
            std::fs::write(&path, bytes).unwrap();
            let message = load(&path, &Device::Cpu).unwrap_err().to_string();
            assert!(message.contains("model.safetensors is not a safetensors file"), "{message}");
        }
        assert!(matches!(load(&folder.path().join("none"), &Device::Cpu), Err(SaveError::Read { .. })));
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.safetensors");
        std::fs::create_dir(&target).unwrap(); // a folder cannot be replaced by a file
        assert!(matches!(write_atomically(&target, b"new"), Err(SaveError::Write { .. })));
        assert!(target.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half written is left");
    }
}
