//! Published checkpoints: outputs, generation, import and export.

mod beside;
mod clip;
mod clips;
mod errors;
mod export;
mod generation;
mod heads;
mod images;
mod outputs;
mod preparation;
mod sentences;
mod siglip;

use candle_core::{Device, Tensor};
use smalti::data::{Batch, Sample, Stream, Target, collate};
use smalti::pretrained::{self, Pretrained};
use smalti::sample::{Part, Purpose, Role};
use smalti_contract::{TokenizeError, Tokens, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

fn part<'a>(model: &'a Pretrained, name: &str) -> Option<&'a Part> {
    model.task.parts().iter().find(|part| part.name == name)
}

/// The sample of a row, for prediction.
fn sample(model: &Pretrained, id: usize, fields: &[(&str, Value)]) -> Sample {
    let get = |field: &str| -> Result<Value, TokenizeError> {
        let found = fields.iter().find(|(known, _)| *known == field);
        Ok(found.map_or(Value::Missing, |(_, value)| value.clone()))
    };
    model.task.sample(&get, 0..0, Purpose::Predict, id as u64).unwrap()
}

fn batch(model: &Pretrained, samples: Vec<Sample>) -> Batch {
    let samples: Vec<(usize, Sample)> = samples.into_iter().map(|sample| (0, sample)).collect();
    collate(model.model.layouts(), &samples).unwrap()
}

/// A document in which the first head predicts at every token of the kind that it reads.
fn document(id: usize, inputs: Vec<(Stream, Tokens)>) -> Sample {
    Sample { inputs, outputs: vec![Target::Unknown.into()], id: id as u64 }
}

/// The encoder's input, and the text so far.
fn pair(model: &Pretrained, encoder_input: Tokens, text: &[u32]) -> Vec<(Stream, Tokens)> {
    let generated = model.task.parts().iter().find(|part| matches!(part.role, Role::Generated(_)));
    vec![
        (Stream::Encoder, encoder_input),
        (Stream::Main, generated.unwrap().sequence(text.to_vec()).unwrap()),
    ]
}

/// All checkpoints in a folder, by name.
fn checkpoints(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let found: BTreeMap<_, _> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    assert!(
        found.len() >= 7,
        "{} holds {} checkpoints; at least 7 are expected",
        folder.display(),
        found.len()
    );
    found
}

fn golden() -> BTreeMap<String, PathBuf> {
    let golden = std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN names the folder of reference outputs");
    checkpoints(&Path::new(&golden).join("models"))
}

/// Tiny checkpoints with settings that the golden ones do not have; see `make.py` beside them.
fn shipped() -> BTreeMap<String, PathBuf> {
    checkpoints(Path::new("tests/checkpoints"))
}

/// A copy of a shipped checkpoint, to change its files.
fn copied(name: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&shipped()[name]).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "io.safetensors") {
            std::fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    place
}

/// The tensors of a checkpoint, unconverted.
fn tensors(folder: &Path) -> HashMap<String, Tensor> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "io.safetensors") {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("safetensors") => {
                    found.extend(candle_core::safetensors::load(&path, &Device::Cpu).unwrap())
                }
                Some("bin") => found.extend(candle_core::pickle::read_all(&path).unwrap()),
                _ => {}
            }
        }
    }
    found
}

/// Write a JSON file beside the weights.
fn write(folder: &Path, name: &str, json: &serde_json::Value) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, json.to_string()).unwrap();
}

/// The error of a checkpoint.
fn error(folder: &Path) -> String {
    match pretrained::open(folder) {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}
