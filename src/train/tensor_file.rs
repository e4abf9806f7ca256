//! A safetensors file whose tensors are read one at a time.
//!
//! A tensor is read straight into the memory of its variable. A memory map of the file would be a second copy: a CPU tensor
//! owns its elements.

use super::SaveError;
use super::checkpoint::TEXTS;
use crate::model::SavedTensors;
use crate::ops::cpu::storage::update;
use candle_core::{Device, Tensor, Var};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A safetensors file of f32, bf16 or f16 tensors. Its header is in memory, its tensors are not.
pub struct TensorFile {
    path: PathBuf,
    file: Mutex<File>,
    header: Metadata,
    /// The place of the first tensor, in bytes.
    start: u64,
    texts: BTreeMap<String, String>,
    /// The beginning of the names of the tensors that are read.
    prefix: &'static str,
}

/// Bytes of the length of a header.
const LENGTH_BYTES: u64 = 8;
/// Most bytes of a header, as for the library of the format.
const MOST_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the numbers of 16 bits that are read at a time.
const BLOCK_BYTES: usize = 1 << 16;

impl TensorFile {
    /// Opens a file and reads its header, which must describe the whole file.
    ///
    /// # Errors
    /// [`SaveError::Read`] or [`SaveError::Format`], with the file's name.
    pub fn open(path: &Path) -> Result<Self, SaveError> {
        let unreadable = |source| SaveError::Read { path: path.into(), source };
        let malformed = |problem| malformed(path, problem);
        let mut file = File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let mut length = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut length).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => malformed(format!("expected a header; found {bytes} bytes")),
            _ => unreadable(error),
        })?;
        let length = u64::from_le_bytes(length);
        let most = bytes.saturating_sub(LENGTH_BYTES).min(MOST_HEADER_BYTES);
        if length > most {
            return Err(malformed(format!("expected a header of at most {most} bytes; found {length}")));
        }
        let mut header = Vec::new();
        file.by_ref().take(length).read_to_end(&mut header).map_err(unreadable)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| malformed(format!("its header: {e}")))?;
        let start = LENGTH_BYTES + length;
        let expected = start.saturating_add(header.data_len() as u64);
        if expected != bytes {
            return Err(malformed(format!("its header describes {expected} bytes; the file has {bytes}")));
        }
        for (name, TensorInfo { dtype, .. }) in header.tensors() {
            if !matches!(dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16) {
                return Err(malformed(format!("tensor {name} has the type {dtype:?}")));
            }
        }
        let texts = header.metadata().as_ref().and_then(|texts| texts.get(TEXTS));
        let texts = texts.map(|json| serde_json::from_str(json).map_err(|e| malformed(e.to_string())));
        let texts = texts.transpose()?.unwrap_or_default();
        Ok(Self { path: path.into(), file: Mutex::new(file), header, start, texts, prefix: "" })
    }

    /// The same file, of which only the tensors whose names begin with `prefix` are read, by the rest of their names.
    pub fn below(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// The named texts beside the tensors.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// A tensor in f32.
    ///
    /// # Errors
    /// If there is none of this name, or it cannot be read.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, SaveError> {
        let info = self.info(name)?;
        // The header describes no more than the file has.
        let mut values = vec![0.0; info.shape.iter().product()];
        self.read_into(info, &mut values)?;
        Ok(Tensor::from_vec(values, &*info.shape, device)?)
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, SaveError> {
        let missing = || malformed(&self.path, format!("there is no tensor {}{name}", self.prefix));
        self.header.info(&format!("{}{name}", self.prefix)).ok_or_else(missing)
    }

    /// Reads the numbers of a tensor, as many as `values` has.
    fn read_into(&self, info: &TensorInfo, values: &mut [f32]) -> Result<(), SaveError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = || -> IoResult<()> {
            file.seek(SeekFrom::Start(self.start + info.data_offsets.0 as u64))?;
            match info.dtype {
                Dtype::BF16 => {
                    read_halves(&mut file, values, |half| half::bf16::from_le_bytes(half).to_f32())
                }
                Dtype::F16 => read_halves(&mut file, values, |half| half::f16::from_le_bytes(half).to_f32()),
                _ => {
                    file.read_exact(bytemuck::cast_slice_mut(values))?;
                    if cfg!(target_endian = "big") {
                        values.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
                    }
                    Ok(())
                }
            }
        };
        read().map_err(|source| SaveError::Read { path: self.path.clone(), source })
    }
}

/// Reads numbers of 16 bits.
fn read_halves(file: &mut File, values: &mut [f32], number: impl Fn([u8; 2]) -> f32) -> IoResult<()> {
    let mut block = vec![0; BLOCK_BYTES];
    for values in values.chunks_mut(BLOCK_BYTES / 2) {
        let block = &mut block[..2 * values.len()];
        file.read_exact(block)?;
        let halves = block.as_chunks::<2>().0;
        values.iter_mut().zip(halves).for_each(|(value, half)| *value = number(*half));
    }
    Ok(())
}

fn malformed(path: &Path, problem: String) -> SaveError {
    SaveError::Format { path: path.into(), expected: "safetensors file of f32, bf16 or f16 tensors", problem }
}

impl SavedTensors for TensorFile {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let tensors = self.header.tensors().into_iter();
        tensors
            .filter_map(|(name, info)| Some((name.strip_prefix(self.prefix)?.into(), info.shape.clone())))
            .collect()
    }

    fn read(&self, name: &str, into: &Var) -> candle_core::Result<()> {
        let info = self.info(name).map_err(candle_core::Error::wrap)?;
        if info.shape != into.dims() {
            candle_core::bail!("{name} is {:?}, expected {:?}", info.shape, into.dims())
        }
        let read = match into.device().is_cpu() {
            true => update(into.as_tensor(), |values| self.read_into(info, values))?,
            false => self.tensor(name, into.device()).and_then(|tensor| Ok(into.set(&tensor)?)),
        };
        read.map_err(candle_core::Error::wrap)
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Storage, save_as};
    use super::*;
    use crate::model::Params;
    use candle_core::DType;

    #[test]
    fn a_variable_is_set_from_each_type_of_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        // More numbers than are read at a time.
        let expected: Vec<f32> = (0..BLOCK_BYTES).map(|i| (i % 251) as f32 - 100.0).collect();
        let tensor = Tensor::from_slice(&expected, (2, BLOCK_BYTES / 2), &Device::Cpu).unwrap();
        let tensors = ["a", "p.b"].map(|name| (name.to_string(), tensor.clone()));
        for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
            save_as(&path, &BTreeMap::from(tensors.clone()), &BTreeMap::new(), storage).unwrap();
            let file = TensorFile::open(&path).unwrap().below("p.");
            assert_eq!(file.shapes(), BTreeMap::from([("b".into(), tensor.dims().to_vec())]));
            let variable = Var::zeros(tensor.shape(), DType::F32, &Device::Cpu).unwrap();
            file.read("b", &variable).unwrap();
            assert_eq!(variable.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
            let message = file.read("a", &variable).unwrap_err().to_string();
            assert!(message.contains("there is no tensor p.a"), "{message}");
            let other = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
            let message = file.read("b", &other).unwrap_err().to_string();
            assert!(message.contains("expected [3]"), "{message}");
        }
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensor = Tensor::new(&[1.5_f32, 2.0], &Device::Cpu).unwrap();
        let tensors = ["a", "c"].map(|name| (name.to_string(), tensor.clone()));
        save_as(&path, &BTreeMap::from(tensors), &BTreeMap::new(), Storage::F32).unwrap();
        let mut params = Params::blank(&Device::Cpu);
        params.root().normal("a", 2, 1.0).unwrap();
        params.root().zeros("b", 2).unwrap();
        let message = params.load(&TensorFile::open(&path).unwrap()).unwrap_err().to_string();
        assert!(message.contains("b is missing; c is not a parameter of this model"), "{message}");
    }

    #[test]
    fn a_file_that_is_not_whole_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensor = Tensor::new(&[1.5_f32, 2.0], &Device::Cpu).unwrap();
        save_as(&path, &BTreeMap::from([("a".into(), tensor)]), &BTreeMap::new(), Storage::F32).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let longer = [&bytes[..], &[0]].concat();
        let lengths = (0..bytes.len()).map(|n| &bytes[..n]);
        for damaged in lengths.chain([&longer[..]]) {
            std::fs::write(&path, damaged).unwrap();
            let message = TensorFile::open(&path).err().unwrap().to_string();
            assert!(message.contains("model.safetensors is not a safetensors file"), "{message}");
        }
        // A header of 2^63 bytes is not allocated.
        std::fs::write(&path, [&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat()).unwrap();
        let message = TensorFile::open(&path).err().unwrap().to_string();
        assert!(message.contains("at most 2 bytes"), "{message}");
    }
}
