//! A safetensors file whose tensors are read one at a time.
//!
//! A tensor is read straight into the memory of its variable. A memory map of the file would be a second copy: a CPU tensor
//! owns its elements.

use super::checkpoint::TEXTS;
use super::checksums::{self, Checksum};
use super::{Checks, SaveError, integers};
use crate::model::SavedTensors;
use crate::ops::QuantizedWeight;
use crate::ops::cpu::storage::update;
use candle_core::{Device, Tensor, Var};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A safetensors file of tensors in f32, bf16, f16, or small integers with scales, which are read as f32. Its header is in memory, its tensors are not.
pub struct TensorFile {
    path: PathBuf,
    file: Mutex<File>,
    header: Metadata,
    /// The place of the first tensor, in bytes.
    start: u64,
    texts: BTreeMap<String, String>,
    /// The beginning of the names of the tensors that are read.
    prefix: &'static str,
    /// Whether numbers must be finite.
    finite: bool,
}

/// Bytes of the length of a header.
const LENGTH_BYTES: u64 = 8;
/// Most bytes of a header, as for the library of the format.
const MOST_HEADER_BYTES: u64 = 100_000_000;
/// Numbers that are read and checked at a time: they fit into a thread's cache.
const BLOCK: usize = 1 << 16;

impl TensorFile {
    /// Opens the file `name` of a run folder, with these checks.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and [`SaveError::Checksum`] if the file is not as the run wrote it.
    pub fn open_in(folder: &Path, name: &str, checks: Checks) -> Result<Self, SaveError> {
        let file = Self::open(&folder.join(name)).map_err(|error| match error {
            SaveError::Format { path, expected, problem } => {
                SaveError::Format { path, expected, problem: format!("{problem}; restore it from a copy") }
            }
            other => other,
        })?;
        if checks.checksums {
            let open = file.file.lock().unwrap_or_else(PoisonError::into_inner);
            checksums::check(folder, name, || Checksum::of(&open))?;
        }
        Ok(Self { finite: checks.finite, ..file })
    }

    /// Opens a file and reads its header, which must describe the whole file. Numbers need not be finite.
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
        for (name, info) in header.tensors() {
            let is_float = matches!(info.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16);
            if !is_float && integers::find(&header, &name, info).is_none() {
                return Err(malformed(format!("tensor {name} has the type {:?}", info.dtype)));
            }
        }
        let texts = header.metadata().as_ref().and_then(|texts| texts.get(TEXTS));
        let texts = texts.map(|json| serde_json::from_str(json).map_err(|e| malformed(e.to_string())));
        let texts = texts.transpose()?.unwrap_or_default();
        Ok(Self {
            path: path.into(),
            file: Mutex::new(file),
            header,
            start,
            texts,
            prefix: "",
            finite: false,
        })
    }

    /// The same file, of which only the tensors whose names begin with `prefix` are read, by the rest of their names.
    pub fn below(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// The same file, of which numbers need not be finite.
    pub fn any_numbers(self) -> Self {
        Self { finite: false, ..self }
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
        let shape = self.shape(&format!("{}{name}", self.prefix), info);
        // The header describes no more than the file has.
        let mut values = vec![0.0; shape.iter().product()];
        self.read_into(name, info, &mut values)?;
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// The types of its tensors, each once: `f32`, `bf16`, `f16`, `int8` or `int4`.
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = vec![];
        for (name, info) in self.tensors() {
            let dtype = match integers::find(&self.header, &name, info) {
                Some((_, dtype, _)) => dtype.to_string(),
                None => format!("{:?}", info.dtype).to_lowercase(),
            };
            if !types.contains(&dtype) {
                types.push(dtype);
            }
        }
        types.sort();
        types
    }

    /// Its tensors without the scales of others, by their whole names.
    fn tensors(&self) -> impl Iterator<Item = (String, &TensorInfo)> {
        let is_scale = |name: &str| {
            let of = name.strip_suffix(integers::SCALE).and_then(|of| Some((of, self.header.info(of)?)));
            of.is_some_and(|(of, info)| integers::find(&self.header, of, info).is_some())
        };
        self.header.tensors().into_iter().filter(move |(name, _)| !is_scale(name))
    }

    /// The shape of the numbers of a tensor of this whole name.
    fn shape(&self, name: &str, info: &TensorInfo) -> Vec<usize> {
        integers::find(&self.header, name, info)
            .map_or_else(|| info.shape.clone(), |(.., dims)| dims.to_vec())
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, SaveError> {
        let missing = || malformed(&self.path, format!("there is no tensor {}{name}", self.prefix));
        self.header.info(&format!("{}{name}", self.prefix)).ok_or_else(missing)
    }

    /// Reads the numbers of a tensor, as many as `values` has.
    fn read_into(&self, name: &str, info: &TensorInfo, values: &mut [f32]) -> Result<(), SaveError> {
        let unreadable = |source| SaveError::Read { path: self.path.clone(), source };
        if let Some((scales, dtype, [_, inputs])) =
            integers::find(&self.header, &format!("{}{name}", self.prefix), info)
        {
            let mut factors = vec![0.0; scales.shape.iter().product()];
            self.read_into(&integers::scales_of(name), scales, &mut factors)?;
            let mut integers = vec![0; info.data_offsets.1 - info.data_offsets.0];
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.start + info.data_offsets.0 as u64)).map_err(unreadable)?;
            file.read_exact(&mut integers).map_err(unreadable)?;
            QuantizedWeight::values_of_rows(dtype, inputs, &integers, &factors, values);
            return Ok(());
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.start + info.data_offsets.0 as u64)).map_err(unreadable)?;
        let mut bytes = vec![];
        for block in values.chunks_mut(BLOCK) {
            read_block(&mut file, info.dtype, block, &mut bytes).map_err(unreadable)?;
            if let Some(found) = not_finite(block).filter(|_| self.finite) {
                return Err(malformed(
                    &self.path,
                    format!(
                        "tensor {}{name}: expected finite numbers; found {found}: take a checkpoint from before, or read it \
                         as it is with --allow-non-finite",
                        self.prefix
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Reads numbers. `bytes` is memory for those of 16 bits.
fn read_block(file: &mut File, dtype: Dtype, values: &mut [f32], bytes: &mut Vec<u8>) -> IoResult<()> {
    match dtype {
        Dtype::BF16 => read_halves(file, values, bytes, |half| half::bf16::from_le_bytes(half).to_f32()),
        Dtype::F16 => read_halves(file, values, bytes, |half| half::f16::from_le_bytes(half).to_f32()),
        _ => {
            file.read_exact(bytemuck::cast_slice_mut(values))?;
            if cfg!(target_endian = "big") {
                values.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
            }
            Ok(())
        }
    }
}

/// Reads numbers of 16 bits.
fn read_halves(
    file: &mut File,
    values: &mut [f32],
    bytes: &mut Vec<u8>,
    number: impl Fn([u8; 2]) -> f32,
) -> IoResult<()> {
    bytes.resize(2 * values.len(), 0);
    file.read_exact(bytes)?;
    let halves = bytes.as_chunks::<2>().0;
    values.iter_mut().zip(halves).for_each(|(value, half)| *value = number(*half));
    Ok(())
}

/// The first number that is infinite or not a number.
pub(crate) fn not_finite(values: &[f32]) -> Option<f32> {
    // These have the largest exponent. Unlike a search, a maximum takes many numbers at a time.
    let exponent = f32::INFINITY.to_bits();
    let largest = values.iter().fold(0, |largest, value| largest.max(value.to_bits() & exponent));
    if largest < exponent { None } else { values.iter().copied().find(|value| !value.is_finite()) }
}

fn malformed(path: &Path, problem: String) -> SaveError {
    SaveError::Format { path: path.into(), expected: "safetensors file of f32, bf16 or f16 tensors", problem }
}

impl SavedTensors for TensorFile {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let named = |(name, info): (String, &TensorInfo)| {
            Some((name.strip_prefix(self.prefix)?.into(), self.shape(&name, info)))
        };
        self.tensors().filter_map(named).collect()
    }

    fn read(&self, name: &str, into: &Var) -> candle_core::Result<()> {
        let info = self.info(name).map_err(candle_core::Error::wrap)?;
        let shape = self.shape(&format!("{}{name}", self.prefix), info);
        if shape != into.dims() {
            candle_core::bail!("{name} is {shape:?}, expected {:?}", into.dims())
        }
        let read = match into.device().is_cpu() {
            true => update(into.as_tensor(), |values| self.read_into(name, info, values))?,
            false => self.tensor(name, into.device()).and_then(|tensor| Ok(into.set(&tensor)?)),
        };
        read.map_err(|error| match error {
            // The caller names the file.
            SaveError::Format { problem, .. } => candle_core::Error::Msg(problem),
            other => candle_core::Error::wrap(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Storage, save_as, save_in, save_rounded_in};
    use super::*;
    use crate::model::Params;
    use crate::ops::QuantizedType;
    use candle_core::DType;

    #[test]
    fn a_variable_is_set_from_each_type_of_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        // More numbers than are read at a time.
        let expected: Vec<f32> = (0..2 * BLOCK).map(|i| (i % 251) as f32 - 100.0).collect();
        let tensor = Tensor::from_slice(&expected, (2, BLOCK), &Device::Cpu).unwrap();
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
    fn small_integers_are_read_as_the_numbers_they_stand_for() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<f32> = (0..5 * 64).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let tensor = Tensor::from_slice(&numbers, (5, 64), &Device::Cpu).unwrap();
        // Half a group of inputs is stored in int8.
        let odd = tensor.narrow(1, 0, 48).unwrap().contiguous().unwrap();
        let tensors = [("a", &tensor), ("b", &tensor), ("c", &odd), ("d", &tensor)]
            .map(|(name, tensor)| (name.to_string(), tensor.clone()));
        let rounded = [("a", QuantizedType::Int8), ("b", QuantizedType::Int4), ("c", QuantizedType::Int4)]
            .map(|(name, dtype)| (name.to_string(), dtype));
        let (tensors, rounded) = (BTreeMap::from(tensors), BTreeMap::from(rounded));
        let name = "x.safetensors";
        save_rounded_in(folder.path(), name, &tensors, &BTreeMap::new(), Storage::F32, &rounded).unwrap();
        let file = TensorFile::open_in(folder.path(), name, Checks::default()).unwrap();
        let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        assert_eq!(
            (file.shapes(), file.types()),
            (shapes, ["f32", "int4", "int8"].map(String::from).to_vec())
        );
        let expected = [
            QuantizedWeight::quantize(&tensor, QuantizedType::Int8).unwrap().dequantize().unwrap(),
            QuantizedWeight::quantize(&tensor, QuantizedType::Int4).unwrap().dequantize().unwrap(),
            QuantizedWeight::quantize(&odd, QuantizedType::Int8).unwrap().dequantize().unwrap(),
            tensor,
        ];
        for (name, expected) in tensors.keys().zip(expected) {
            let found = Var::zeros(expected.shape(), DType::F32, &Device::Cpu).unwrap();
            file.read(name, &found).unwrap();
            let [found, expected] = [found.as_tensor(), &expected].map(|x| x.to_vec2::<f32>().unwrap());
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_with_its_tensor() {
        let folder = tempfile::tempdir().unwrap();
        for (number, storage) in
            [(f32::NAN, Storage::F32), (f32::INFINITY, Storage::F16), (f32::NEG_INFINITY, Storage::Bf16)]
        {
            let mut values = vec![f32::MIN_POSITIVE; BLOCK + 3];
            values[BLOCK + 1] = number;
            let tensor = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
            let tensors = BTreeMap::from([("head.bias".to_string(), tensor.clone())]);
            save_in(folder.path(), "x.safetensors", &tensors, &BTreeMap::new(), storage).unwrap();
            let open = |checks| TensorFile::open_in(folder.path(), "x.safetensors", checks).unwrap();
            let variable = Var::zeros(tensor.shape(), DType::F32, &Device::Cpu).unwrap();
            let message = open(Checks::default()).read("head.bias", &variable).unwrap_err().to_string();
            let expected = format!("tensor head.bias: expected finite numbers; found {number}");
            assert!(message.starts_with(&expected) && message.contains("--allow-non-finite"), "{message}");
            let any = Checks { finite: false, ..Checks::default() };
            open(any).read("head.bias", &variable).unwrap();
            open(Checks::default()).any_numbers().read("head.bias", &variable).unwrap();
        }
        assert_eq!(not_finite(&[f32::MAX, f32::MIN, 0.0, -0.0, 1e-45]), None);
        assert_eq!(not_finite(&[]), None);
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
