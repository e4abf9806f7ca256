//! Saving and loading of tensors; a file is written atomically.

mod atomic;
mod error;

pub(crate) use atomic::{finish, unfinished};
pub use atomic::{remove_unfinished, write_atomically};
pub use error::SaveError;

use super::TensorFile;
use super::checksums::{self, Checksum};
use super::integers;
use super::target::check_target;
use crate::model::SavedTensors;
use crate::ops::QuantizedType;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::Path,
};
use tempfile::NamedTempFile;

/// The type of stored numbers; they are loaded as f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits: the exponent of f32, and 8 bits of precision.
    Bf16,
    /// 16 bits: a shorter exponent, up to 65,504, and 11 bits of precision.
    F16,
}

impl Storage {
    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Storage::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Storage::Bf16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
            Storage::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        }
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::Bf16 | Storage::F16 => 2,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Storage::F32 => Dtype::F32,
            Storage::Bf16 => Dtype::BF16,
            Storage::F16 => Dtype::F16,
        }
    }
}

/// Writes f32 tensors and a few named texts as one safetensors file, atomically.
///
/// # Errors
/// [`SaveError::Write`] if the file cannot be written, or an operation fails.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    texts: &BTreeMap<String, String>,
) -> Result<(), SaveError> {
    save_as(path, tensors, texts, Storage::F32)
}

/// As [`save`], with numbers of the type `storage`.
///
/// # Errors
/// As for [`save`], and if a number is beyond the range of that type.
pub fn save_as(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    texts: &BTreeMap<String, String>,
    storage: Storage,
) -> Result<(), SaveError> {
    save_published(path, tensors, &metadata(texts), storage)
}

/// As [`save_as`], as the file `name` of a run folder, with its checksum.
///
/// # Errors
/// As for [`save_as`].
pub fn save_in(
    folder: &Path,
    name: &str,
    tensors: &BTreeMap<String, Tensor>,
    texts: &BTreeMap<String, String>,
    storage: Storage,
) -> Result<(), SaveError> {
    save_rounded_in(folder, name, tensors, texts, storage, &BTreeMap::new())
}

/// As [`save_in`], with the tensors of these names rounded to few bits.
///
/// # Errors
/// As for [`save_as`].
pub fn save_rounded_in(
    folder: &Path,
    name: &str,
    tensors: &BTreeMap<String, Tensor>,
    texts: &BTreeMap<String, String>,
    storage: Storage,
    rounded: &BTreeMap<String, QuantizedType>,
) -> Result<(), SaveError> {
    let (file, checksum) = complete(&folder.join(name), tensors, &metadata(texts), storage, rounded)?;
    checksums::finish_in(folder, name, file, checksum)
}

/// One metadata value, because the format's writer has no fixed order of several; equal states get equal bytes.
fn metadata(texts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let header = serde_json::to_string(texts).map(|json| BTreeMap::from([(TEXTS.to_string(), json)]));
    header.unwrap_or_default()
}

/// Writes tensors for other libraries, with this metadata only.
///
/// # Errors
/// As for [`save_as`].
pub fn save_published(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
    storage: Storage,
) -> Result<(), SaveError> {
    check_target(path)?;
    let (file, _) = complete(path, tensors, metadata, storage, &BTreeMap::new())?;
    finish(file, path).map_err(|source| SaveError::Write { path: path.into(), source })
}

/// A complete file that is not yet renamed to `path`, and its checksum.
fn complete(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
    storage: Storage,
    rounded: &BTreeMap<String, QuantizedType>,
) -> Result<(NamedTempFile, Checksum), SaveError> {
    let failed = |source| SaveError::Write { path: path.into(), source };
    let header = header(tensors, metadata, storage, rounded).map_err(|e| SaveError::Format {
        path: path.into(),
        expected: "safetensors file",
        problem: e.to_string(),
    })?;
    let mut file = unfinished(path).map_err(failed)?;
    let (mut hasher, mut length) = (crc32fast::Hasher::new(), 0);
    let mut write = |bytes: &[u8]| {
        hasher.update(bytes);
        length += bytes.len() as u64;
        file.write_all(bytes).map_err(failed)
    };
    write(&header)?;
    // One tensor at a time: the bytes of all would be a second copy of the model.
    for (name, tensor) in tensors {
        match rounded.get(name) {
            Some(dtype) => integers::bytes(tensor, *dtype)?.iter().try_for_each(|bytes| write(bytes))?,
            None => write(&stored(name, tensor, storage)?)?,
        }
    }
    Ok((file, Checksum::of_hasher(hasher, length)))
}

/// The bytes before the first tensor.
fn header(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
    storage: Storage,
    rounded: &BTreeMap<String, QuantizedType>,
) -> Result<Vec<u8>, SafeTensorError> {
    let (mut infos, mut end) = (vec![], 0);
    let mut add = |name: String, dtype: Dtype, shape: Vec<usize>, size: usize| {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        infos.push((name, TensorInfo { dtype, shape, data_offsets: (start, end) }));
    };
    for (name, tensor) in tensors {
        match (rounded.get(name), tensor.dims()) {
            (Some(rounded), &[outputs, inputs]) => {
                let [(dtype, shape), (of_scales, scales)] = integers::layout([outputs, inputs], *rounded);
                add(name.clone(), dtype, shape, 1);
                add(integers::scales_of(name), of_scales, scales, size_of::<f32>());
            }
            (_, dims) => add(name.clone(), storage.dtype(), dims.to_vec(), storage.size()),
        }
    }
    let metadata = Metadata::new(Some(metadata.clone().into_iter().collect()), infos)?;
    let mut json = serde_json::to_vec(&metadata)?;
    json.resize(json.len().next_multiple_of(8), b' '); // tensors are aligned
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

/// The bytes of a tensor.
fn stored(name: &str, tensor: &Tensor, storage: Storage) -> candle_core::Result<Vec<u8>> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let beyond = |v: &&f32| storage == Storage::F16 && v.is_finite() && !half::f16::from_f32(**v).is_finite();
    match values.iter().find(beyond) {
        Some(found) => candle_core::bail!(
            "{name}: expected numbers within f16; found {found}, which bf16 and f32 can store"
        ),
        None => Ok(storage.bytes(&values)),
    }
}

/// The error of a file whose tensors do not match the model.
pub fn misfit(path: &Path, error: candle_core::Error) -> SaveError {
    let problem = match error {
        candle_core::Error::Msg(message) => message,
        other => other.to_string(),
    };
    SaveError::Format { path: path.into(), expected: "file of this model's weights", problem }
}

/// Tensors and texts, by name.
pub type Saved = (HashMap<String, Tensor>, BTreeMap<String, String>);

/// The metadata key of the texts.
pub(super) const TEXTS: &str = "smalti";

/// Loads the tensors and texts of a file that [`save`] wrote.
///
/// # Errors
/// [`SaveError::Read`] or [`SaveError::Format`], with the file's name.
pub fn load(path: &Path, device: &Device) -> Result<Saved, SaveError> {
    let file = TensorFile::open(path)?;
    let names = file.shapes().into_keys();
    let tensors = names.map(|name| file.tensor(&name, device).map(|tensor| (name, tensor)));
    Ok((tensors.collect::<Result<_, _>>()?, file.texts().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn saved_tensors_and_texts_are_loaded_unchanged() {
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
    fn half_precision_is_rounded_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensors = |x: f32| {
            BTreeMap::from([("a".to_string(), Tensor::new(&[1.0 + x, -2.5], &Device::Cpu).unwrap())])
        };
        for (storage, expected) in
            [(Storage::Bf16, 1.0 + 2f32.powi(-7)), (Storage::F16, 1.0 + 2f32.powi(-7) * 0.75)]
        {
            save_as(&path, &tensors(2f32.powi(-7) * 0.75), &BTreeMap::new(), storage).unwrap();
            let (read, _) = load(&path, &Device::Cpu).unwrap();
            assert_eq!(read["a"].to_vec1::<f32>().unwrap(), [expected, -2.5]);
        }
        let error = save_as(&path, &tensors(1e6), &BTreeMap::new(), Storage::F16).unwrap_err().to_string();
        assert!(error.contains("found 1000001"), "{error}");
    }

    #[test]
    fn the_library_of_the_format_reads_what_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let tensors =
            BTreeMap::from([("b".to_string(), tensor(&[1.0])), ("a".to_string(), tensor(&[2.0, 3.0, 4.0]))]);
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
            save_published(&path, &tensors, &metadata, storage).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let views = tensors.iter().map(|(name, tensor)| {
                let bytes = stored(name, tensor, storage).unwrap();
                (name.as_str(), bytes, tensor.dims().to_vec())
            });
            let views: Vec<_> = views.collect();
            let views = views.iter().map(|(name, bytes, shape)| {
                (*name, TensorView::new(storage.dtype(), shape.clone(), bytes).unwrap())
            });
            let header = Some(metadata.clone().into_iter().collect());
            assert_eq!(bytes, safetensors::serialize(views, header).unwrap(), "{storage:?}");
        }
    }

    #[test]
    fn an_error_names_the_damaged_file() {
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
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.safetensors");
        std::fs::create_dir(&target).unwrap(); // a folder cannot be replaced by a file
        assert!(matches!(write_atomically(&target, b"new"), Err(SaveError::NotReplaced { .. })));
        assert!(target.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no incomplete file is left");
    }
}
