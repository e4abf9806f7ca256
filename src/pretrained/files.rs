//! The files of a checkpoint.

use super::names::Tensors;
use super::settings::Settings;
use super::{Checkpoint, PretrainedError};
use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The settings of a model.
pub(super) const CONFIG: &str = "config.json";
/// Weights in one safetensors file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Weights in one file or indices of several, safetensors before files that PyTorch pickled: the first that exists is read.
const FILES_OF_WEIGHTS: [&str; 4] =
    [WEIGHTS, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The first bytes of a file that PyTorch wrote before version 1.6: a pickled number. Later ones are zip archives.
const PYTORCH_BEFORE_1_6: [u8; 15] = *b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The endings of the files beside the weights that an import keeps: settings, vocabularies, templates, and words on the model.
const KEPT: [&str; 6] = [".bpe", ".jinja", ".json", ".md", ".model", ".txt"];
/// The beginnings of the names of other such files.
const LICENCES: [&str; 3] = ["LICENCE", "LICENSE", "NOTICE"];
/// The folder of the templates of chats but the first.
const TEMPLATES: &str = "additional_chat_templates";
/// No vocabulary has as many bytes; a larger file belongs to something else.
const MOST_BYTES: u64 = 1 << 28;

/// The names of the files beside the weights in `folder`, in order.
pub(super) fn beside_weights(folder: &Path) -> Result<BTreeSet<String>, PretrainedError> {
    let mut found = names_in(folder)?;
    if folder.join(TEMPLATES).is_dir() {
        let templates = names_in(&folder.join(TEMPLATES))?;
        found.extend(templates.into_iter().map(|name| format!("{TEMPLATES}/{name}")));
    }
    Ok(found)
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>, PretrainedError> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let failed = |e: std::io::Error| PretrainedError::Read { path: here.into(), problem: e.to_string() };
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(here).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let is_small = std::fs::metadata(&path).is_ok_and(|of| of.is_file() && of.len() <= MOST_BYTES);
        let is_kept = KEPT.iter().any(|ending| name.ends_with(ending))
            || LICENCES.iter().any(|beginning| name.starts_with(beginning));
        if is_small && is_kept && !is_index(name) && !name.starts_with('.') {
            found.insert(name.to_string());
        }
    }
    Ok(found)
}

/// Read a checkpoint without its `ignored` settings: its settings, its tensors in f32, and the name of their file in errors.
pub(super) fn read(
    path: &Path,
    ignored: &[String],
) -> Result<(Checkpoint, Tensors, String), PretrainedError> {
    let path = &super::hub::on_disk(path)?;
    if !path.exists() {
        return Err(PretrainedError::Read { path: path.into(), problem: "no such file or folder".into() });
    }
    let (folder, files) = match path.is_file() {
        true => (path.parent().unwrap_or(Path::new("")).to_path_buf(), vec![path.to_path_buf()]),
        false => (path.to_path_buf(), weights(path)?),
    };
    let config = folder.join(CONFIG);
    let settings = Settings::parse(&config.display().to_string(), &bytes(&config)?)?;
    let mut tensors = Tensors::new();
    for file in &files {
        tensors.extend(load(file)?.into_iter().map(|(name, tensor)| (renamed(name), tensor)));
    }
    let name = match &files[..] {
        [one] => one.display().to_string(),
        _ => format!("{} ({} files)", folder.display(), files.len()),
    };
    let names: BTreeSet<String> = tensors.keys().cloned().collect();
    let ignored = ignored.iter().cloned().collect();
    let mut checkpoint = Checkpoint::new(folder, settings, names, ignored);
    checkpoint.settings = checkpoint.without_ignored(checkpoint.settings.clone());
    Ok((checkpoint, tensors, name))
}

/// The present name of a tensor: the first BERTs call the weight and the bias of a layer norm gamma and beta.
fn renamed(name: String) -> String {
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        if let Some(before) = name.strip_suffix(old) {
            return format!("{before}{new}");
        }
    }
    name
}

fn bytes(path: &Path) -> Result<Vec<u8>, PretrainedError> {
    std::fs::read(path).map_err(|e| PretrainedError::Read { path: path.into(), problem: e.to_string() })
}

/// The files that hold a folder's weights.
fn weights(folder: &Path) -> Result<Vec<PathBuf>, PretrainedError> {
    let Some(name) = weights_among(|name| folder.join(name).is_file()) else {
        let problem = "has no weights; expected model.safetensors or pytorch_model.bin, in one file or in several with \
                       an index";
        return Err(PretrainedError::Read { path: folder.into(), problem: problem.into() });
    };
    match is_index(name) {
        true => shards(folder, &folder.join(name)),
        false => Ok(vec![folder.join(name)]),
    }
}

/// The file of weights, or the index of several, that is read among the existing ones.
pub(super) fn weights_among(exists: impl Fn(&str) -> bool) -> Option<&'static str> {
    FILES_OF_WEIGHTS.into_iter().find(|name| exists(name))
}

/// Whether a file is an index of several files of weights.
pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

/// The distinct files that an index names.
pub(super) fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, PretrainedError> {
    let failed = |problem: &str| PretrainedError::Format {
        file: index.display().to_string(),
        problem: problem.into(),
    };
    let json: Value = serde_json::from_slice(&bytes(index)?).map_err(|e| failed(&e.to_string()))?;
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| failed("expected an object weight_map; found none"))?;
    let mut files = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| Path::new(name).file_name().is_some_and(|last| last == *name));
        let outside =
            || failed("weight_map: expected names of files in the folder; found a file outside the folder");
        files.insert(folder.join(name.ok_or_else(outside)?));
    }
    Ok(files.into_iter().collect())
}

/// The tensors of one file, in f32, without the integer buffer `position_ids`.
pub(super) fn load(path: &Path) -> Result<Vec<(String, Tensor)>, PretrainedError> {
    let failed = |e: candle_core::Error| PretrainedError::Format {
        file: path.display().to_string(),
        problem: e.to_string(),
    };
    if !path.is_file() {
        return Err(PretrainedError::Read { path: path.into(), problem: "no such file".into() });
    }
    if begins_with(path, &PYTORCH_BEFORE_1_6) {
        let problem = "it is a PyTorch checkpoint of the format before 1.6; expected a zip archive or safetensors: load \
                       it with torch.load and save it again with torch.save, or with safetensors.torch.save_file";
        return Err(PretrainedError::Format { file: path.display().to_string(), problem: problem.into() });
    }
    let tensors = match path.extension().is_some_and(|extension| extension == "safetensors") {
        true => safetensors(path).map_err(failed)?,
        false => candle_core::pickle::read_all(path).map_err(failed)?,
    };
    let floats = tensors
        .into_iter()
        .filter(|(name, tensor)| tensor.dtype().is_float() || !name.ends_with("position_ids"));
    floats.map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32).map_err(failed)?))).collect()
}

fn begins_with(path: &Path, expected: &[u8]) -> bool {
    let mut found = vec![0; expected.len()];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut found)).is_ok() && found == expected
}

/// The tensors of a safetensors file.
fn safetensors(path: &Path) -> candle_core::Result<Vec<(String, Tensor)>> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    file.tensors().into_iter().map(|(name, view)| Ok((name, tensor(&view)?))).collect()
}

/// A tensor of any type of number. candle has no booleans and not all integers; in checkpoints they are masks and counters.
fn tensor(view: &TensorView) -> candle_core::Result<Tensor> {
    fn words<const N: usize>(view: &TensorView, number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        view.data().as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    let numbers = match view.dtype() {
        Dtype::BOOL => words(view, |[byte]| f32::from(byte)),
        Dtype::I8 => words(view, |[byte]| f32::from(byte as i8)),
        Dtype::U16 => words(view, |bytes| f32::from(u16::from_le_bytes(bytes))),
        Dtype::U64 => words(view, |bytes| u64::from_le_bytes(bytes) as f32),
        _ => return view.load(&Device::Cpu),
    };
    Tensor::from_vec(numbers, view.shape(), &Device::Cpu)
}
