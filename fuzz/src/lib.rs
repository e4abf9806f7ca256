//! What fuzz targets share: places for damaged files, and the functions that the tests of mutations call.

#[path = "../../tests/mutations/place.rs"]
pub mod place;
#[allow(dead_code)] // the targets need the description alone
#[path = "../../tests/support/rlds.rs"]
pub mod rlds;

pub use place::{Place, rows};

use candle_core::Device;
use smalti::config::RunConfig;
use smalti::contract::{TokenizeError, Tokenizer, panics};
use smalti::data::DataError;
use smalti::modalities::text::{TextConfig, TextTokenizer, Vocabulary};
use smalti::pretrained::{self, PretrainedError};
use smalti::run::Run;
use smalti::train::Alone;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use tempfile::TempDir;

/// Run a reader. A panic ends the target, except those of libraries that readers catch.
pub fn tested<T>(read: impl FnOnce() -> T) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let aborts = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let of_parquet = panic.location().is_some_and(|place| place.file().contains("/parquet-"));
            if !of_parquet && !panics::is_caught() {
                aborts(panic);
            }
        }));
    });
    drop(read());
}

/// The rows of a folder, one of whose files is damaged.
pub fn rows_of_folder(place: &Place, bytes: &[u8]) -> Result<(), DataError> {
    place.with(bytes);
    rows(place.folder())
}

/// Encode and decode a text with a vocabulary.
pub fn used(vocabulary: Result<Vocabulary, TokenizeError>) -> Result<String, TokenizeError> {
    let tokenizer = TextTokenizer::new(TextConfig::new(vocabulary?, 512))?;
    Ok(tokenizer.text(&tokenizer.document("the low grün 漢字")?))
}

/// The folder of a new run of a preset, small and without weights.
pub fn new_run(preset: &str) -> TempDir {
    let small = ["model.d_model=16", "model.n_layers=1", "model.attention.n_heads=2"].map(String::from);
    let config = RunConfig::of_preset_or_file(preset, &small).unwrap();
    let place = tempfile::tempdir().unwrap();
    Run::create(place.path(), config, &Device::Cpu, Arc::new(Alone)).unwrap();
    place
}

/// A checkpoint of `tests/checkpoints`, one of whose files is damaged.
pub struct Checkpoint {
    folder: TempDir,
    damaged: PathBuf,
}

impl Checkpoint {
    /// A copy of a checkpoint with `others` beside it, to damage the file `damaged`.
    pub fn new(name: &str, damaged: &str, others: &[(&str, &str)]) -> Self {
        let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/checkpoints")).join(name);
        let folder = tempfile::tempdir().unwrap();
        // Damaged weights of PyTorch are read only without other weights.
        let files = if damaged.ends_with(".bin") {
            &["config.json"][..]
        } else {
            &["config.json", "model.safetensors"]
        };
        for file in files {
            std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
        }
        for (path, text) in others {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { damaged: folder.path().join(damaged), folder }
    }

    /// Open it with these bytes as the damaged file; returns the number of tensors.
    pub fn open_with(&self, bytes: &[u8]) -> Result<usize, Box<PretrainedError>> {
        std::fs::write(&self.damaged, bytes).unwrap();
        Ok(pretrained::open(self.folder.path()).map_err(Box::new)?.report.loaded)
    }
}
