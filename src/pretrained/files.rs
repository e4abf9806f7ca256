//! The files of a checkpoint.

use super::names::Tensors;
use super::settings::Settings;
use super::{Checkpoint, PretrainedError};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The settings of a model.
pub(super) const CONFIG: &str = "config.json";
/// Weights in one safetensors file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Weights in one file or indices of several, safetensors before files that PyTorch pickled: the first that exists is read.
const FILES_OF_WEIGHTS: [&str; 4] =
    [WEIGHTS, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Read a checkpoint: its settings, its tensors in f32, and the name of their file in errors.
pub(super) fn read(path: &Path) -> Result<(Checkpoint, Tensors, String), PretrainedError> {
    let path = &super::hub::on_disk(path)?;
    let (folder, files) = match path.is_file() {
        true => (path.parent().unwrap_or(Path::new("")).to_path_buf(), vec![path.to_path_buf()]),
        false => (path.to_path_buf(), weights(path)?),
    };
    let config = folder.join(CONFIG);
    let settings = Settings::parse(&config.display().to_string(), &bytes(&config)?)?;
    let mut tensors = Tensors::new();
    for file in &files {
        tensors.extend(load(file)?);
    }
    let name = match &files[..] {
        [one] => one.display().to_string(),
        _ => format!("{} ({} files)", folder.display(), files.len()),
    };
    let names: BTreeSet<String> = tensors.keys().cloned().collect();
    Ok((Checkpoint { folder, settings, tensors: names, classes: None }, tensors, name))
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
fn load(path: &Path) -> Result<Vec<(String, Tensor)>, PretrainedError> {
    let failed = |e: candle_core::Error| PretrainedError::Format {
        file: path.display().to_string(),
        problem: e.to_string(),
    };
    if !path.is_file() {
        return Err(PretrainedError::Read { path: path.into(), problem: "no such file".into() });
    }
    let tensors = match path.extension().is_some_and(|extension| extension == "safetensors") {
        true => candle_core::safetensors::load(path, &Device::Cpu).map_err(failed)?.into_iter().collect(),
        false => candle_core::pickle::read_all(path).map_err(failed)?,
    };
    let floats = tensors
        .into_iter()
        .filter(|(name, tensor)| tensor.dtype().is_float() || !name.ends_with("position_ids"));
    floats.map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32).map_err(failed)?))).collect()
}
