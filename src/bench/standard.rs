//! Standard inputs of `smalti bench tokenizers`, one file of each modality; and image shards on disk.

use super::BenchError;
#[cfg(feature = "image")]
use crate::{data::DataError, sample::TaskSettings};
#[cfg(any(feature = "text", feature = "image", feature = "audio"))]
use smalti_contract::AnyTokenizer;
#[cfg(feature = "image")]
use std::path::Path;

/// A file and its tokenizer.
pub(super) struct StandardInput {
    /// The input and the kind of tokens.
    pub what: &'static str,
    /// The file's size in bytes.
    pub bytes: usize,
    /// Tokenizes the file; returns the number of tokens.
    pub encode: Box<dyn Fn() -> Result<usize, BenchError> + Send + Sync>,
}

#[cfg(any(feature = "text", feature = "image", feature = "audio"))]
impl StandardInput {
    /// A file and a tokenizer.
    fn new(what: &'static str, file: Vec<u8>, tokenizer: impl AnyTokenizer + 'static) -> Self {
        let bytes = file.len();
        let encode = move || {
            let tokens = tokenizer.encode_file(&file, None).map(|tokens| Ok(tokens?.len()));
            tokens.sum::<Result<usize, BenchError>>()
        };
        Self { what, bytes, encode: Box::new(encode) }
    }
}

/// The standard inputs of this build's modalities: 1 MiB of text to characters and to 4,096 subwords; a JPEG of 500×375
/// pixels to patches, with torchvision's preprocessing for ImageNet (shorter side to 256, the middle 224×224); 30 seconds
/// of WAV to slices of Whisper's log-mel; and the shipped log of CartPole to windows of 20 steps.
///
/// # Errors
/// If a tokenizer fails.
pub(super) fn standard_inputs() -> Result<Vec<StandardInput>, BenchError> {
    Ok(vec![
        #[cfg(feature = "text")]
        characters()?,
        #[cfg(feature = "text")]
        subwords()?,
        #[cfg(feature = "image")]
        patches()?,
        #[cfg(feature = "audio")]
        slices()?,
        #[cfg(feature = "trajectory")]
        windows()?,
    ])
}

/// Bytes of text.
#[cfg(feature = "text")]
const LENGTH: usize = 1 << 20;

/// The shipped text, repeated.
#[cfg(feature = "text")]
fn text() -> Result<String, BenchError> {
    let text = crate::data::read_text("builtin:text/smalti.txt")?;
    Ok(text.chars().cycle().take(LENGTH).collect())
}

#[cfg(feature = "text")]
fn characters() -> Result<StandardInput, BenchError> {
    use crate::modalities::text::{TextTokenizer, fit};
    use smalti_contract::Tokenizer;
    let text = text()?;
    let tokenizer = TextTokenizer::new(fit::characters([&*text], vec![], LENGTH)?)?;
    let what = "text to characters";
    Ok(StandardInput::new(what, text.into_bytes(), tokenizer))
}

#[cfg(feature = "text")]
fn subwords() -> Result<StandardInput, BenchError> {
    use crate::modalities::text::{TextTokenizer, fit};
    use smalti_contract::{TokenizeError, Tokenizer};
    let text = text()?;
    let fitted = fit::bpe(text.as_bytes(), 4096, vec![], LENGTH);
    let tokenizer = TextTokenizer::new(fitted.map_err(|e| TokenizeError::Input(e.to_string()))?)?;
    let what = "text to 4,096 subwords (BPE)";
    Ok(StandardInput::new(what, text.into_bytes(), tokenizer))
}

#[cfg(feature = "image")]
fn patches() -> Result<StandardInput, BenchError> {
    use crate::modalities::image::{Image, ImageConfig, ImageTokenizer, write_jpeg};
    use smalti_contract::Tokenizer;
    let (width, height) = (500, 375);
    // Waves of several lengths, more like a photograph than a flat image, which decodes too fast, or noise.
    let pixel = |i: usize| {
        let (x, y, c) = ((i / 3 % width) as f32, (i / 3 / width) as f32, (i % 3) as f32);
        (127.0 + 60.0 * (x * 0.05 + c).sin() + 40.0 * (y * 0.21).cos() + 20.0 * ((x + y) * 0.9).sin()) as u8
    };
    let image = Image::new(width, height, 3, (0..3 * width * height).map(pixel).collect())?;
    let tokenizer = ImageTokenizer::new(ImageConfig::imagenet(16, 256, 224))?;
    let what = "JPEG of 500×375, shorter side to 256, to 16×16 patches of the middle 224×224";
    Ok(StandardInput::new(what, write_jpeg(&image, 90)?, tokenizer))
}

/// Write `shards` WebDataset shards of `each` JPEGs of 32×32 pixels into a folder; returns the settings of a task that
/// tokenizes an image to 64 patches of 48 numbers, the size of the standard load image-tiny.
///
/// # Errors
/// If a file cannot be written.
#[cfg(feature = "image")]
pub fn standard_images(folder: &Path, shards: usize, each: usize) -> Result<TaskSettings, BenchError> {
    use crate::modalities::image::{Image, write_jpeg};
    const DIFFERENT: usize = 100;
    let image = |number: usize| {
        let pixel = |i: usize| {
            let (x, y, c) = ((i / 3 % 32) as f32, (i / 96) as f32, (i % 3) as f32);
            let phase = number as f32 * 0.37;
            (127.0 + 60.0 * (x * 0.3 + c + phase).sin() + 50.0 * (y * 0.41 + phase).cos()) as u8
        };
        write_jpeg(&Image::new(32, 32, 3, (0..32 * 32 * 3).map(pixel).collect())?, 90)
    };
    let images = (0..DIFFERENT).map(image).collect::<Result<Vec<_>, _>>()?;
    for shard in 0..shards {
        let path = folder.join(format!("train-{shard:04}.tar"));
        let failed = |source| DataError::Io { location: path.display().to_string(), source };
        let file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(failed)?);
        let mut tar = tar::Builder::new(file);
        for number in 0..each {
            let label = (number % 10).to_string();
            for (extension, bytes) in [("cls", label.as_bytes()), ("jpg", &images[number % DIFFERENT][..])] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                let name = format!("{shard:04}-{number:06}.{extension}");
                tar.append_data(&mut header, name, bytes).map_err(failed)?;
            }
        }
        tar.into_inner().map_err(failed)?.into_inner().map_err(|e| failed(e.into_error()))?;
    }
    Ok(serde_json::from_value(serde_json::json!({
        "data": { "source": folder.join("train-*.tar").display().to_string(), "holdout": 0.01 },
        "inputs": { "image": { "modality": "image", "field": "jpg", "patch_size": 4 } },
        "outputs": { "class": { "head": "classify", "field": "cls" } },
    }))?)
}

#[cfg(feature = "audio")]
fn slices() -> Result<StandardInput, BenchError> {
    use crate::modalities::audio::{AudioConfig, AudioTokenizer, Waveform, write_wav};
    use crate::random;
    use smalti_contract::Tokenizer;
    let mut clip = Waveform::silence(16_000, 30.0);
    let noise = random::normal(&mut random::generator(0), clip.samples.len());
    clip.samples.iter_mut().zip(noise).for_each(|(sample, noise)| *sample = 0.1 * noise);
    let tokenizer = AudioTokenizer::new(AudioConfig::default())?;
    let what = "WAV of 30 s to log-mel slices";
    Ok(StandardInput::new(what, write_wav(&clip, 16)?, tokenizer))
}

/// Returns-to-go, observations and actions: the decision transformer's input (Chen et al. 2021).
#[cfg(feature = "trajectory")]
fn windows() -> Result<StandardInput, BenchError> {
    use crate::data::read;
    use crate::registry::Modalities;
    use crate::sample::{Composition, Start};
    let source = "builtin:cartpole-mixed.npz";
    let settings = serde_json::from_value(serde_json::json!({
        "data": {
            "source": source,
            "context": 20,
            "derived": { "return_to_go": { "kind": "return_to_go", "field": "rewards" } },
        },
        "inputs": {
            "return_to_go": { "modality": "numbers" },
            "observations": { "modality": "numbers" },
        },
        "outputs": { "actions": { "head": "classify" } },
    }))?;
    let modalities = Modalities::builtin();
    let saved = Composition::open(("", 1.0), &settings, &modalities, Start::New)?.task.saved().clone();
    let encode = move || {
        let opened = Composition::open(("", 1.0), &settings, &modalities, Start::Run(&saved))?;
        let mut tokens = 0;
        for samples in [opened.train, opened.validation] {
            for index in 0..samples.len() {
                let sample = samples.sample(index, None)?;
                tokens += sample.inputs.iter().map(|(_, tokens)| tokens.len()).sum::<usize>();
            }
        }
        Ok(tokens)
    };
    let what = "npz of 335 episodes to windows of 20 steps";
    Ok(StandardInput { what, bytes: read(source)?.len(), encode: Box::new(encode) })
}
