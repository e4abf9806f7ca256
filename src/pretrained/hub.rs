//! Checkpoints on the Hugging Face Hub.

use super::PretrainedError;
use std::path::{Path, PathBuf};

/// The path of a checkpoint on disk; a repository of the Hub is downloaded into its cache.
pub(super) fn on_disk(path: &Path) -> Result<PathBuf, PretrainedError> {
    match path.to_str().filter(|location| crate::data::files::is_hub(location)) {
        Some(location) => downloaded(location),
        None => Ok(path.into()),
    }
}

#[cfg(not(feature = "remote"))]
fn downloaded(location: &str) -> Result<PathBuf, PretrainedError> {
    let problem = "this build reads no repositories of the Hub; build with the feature `remote`";
    Err(PretrainedError::Read { path: location.into(), problem: problem.into() })
}

/// Downloads the weights of a repository, in one format, and the files of settings and vocabularies beside them; returns their
/// folder.
#[cfg(feature = "remote")]
fn downloaded(location: &str) -> Result<PathBuf, PretrainedError> {
    use super::files::{is_index, shards, weights_among};

    let repository = crate::data::files::hub::Repository::model(location)?;
    for path in repository.list().iter().filter(|path| is_setting(path)) {
        repository.file(path)?;
    }
    if let Some(name) = weights_among(|name| repository.contains(name)) {
        let file = repository.file(name)?;
        let shards = if is_index(name) { shards(repository.snapshot(), &file)? } else { vec![] };
        for name in shards.iter().filter_map(|shard| shard.file_name()?.to_str()) {
            repository.file(name)?;
        }
    }
    Ok(repository.snapshot().to_path_buf())
}

/// Whether a file has settings or a vocabulary, or is part of a numbered module of a sentence embedding, such as
/// `2_Dense/model.safetensors`.
#[cfg(feature = "remote")]
fn is_setting(path: &str) -> bool {
    const ENDINGS: [&str; 5] = [".bpe", ".jinja", ".json", ".model", ".txt"];
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_module = folder.starts_with(|c: char| c.is_ascii_digit()) && !folder.contains('/');
    let has_settings = !super::files::is_index(name) && ENDINGS.iter().any(|ending| name.ends_with(ending));
    let has_weights = [super::files::WEIGHTS, "pytorch_model.bin"].contains(&name);
    has_settings && (folder.is_empty() || is_module) || is_module && has_weights
}

#[cfg(all(test, feature = "remote"))]
mod tests {
    use super::is_setting;

    #[test]
    fn settings_vocabularies_and_modules_are_needed() {
        for path in [
            "config.json",
            "tokenizer.model",
            "vocab.bpe",
            "merges.txt",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
        ] {
            assert!(is_setting(path), "{path}");
        }
        for path in [
            "README.md",
            "flax_model.msgpack",
            "model.safetensors",
            "model.safetensors.index.json",
            "onnx/config.json",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tf_model.h5",
        ] {
            assert!(!is_setting(path), "{path}");
        }
    }
}
