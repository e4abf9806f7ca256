//! The front ends on one thread: bytes as they lie on disk to tokens.

use super::{BenchError, median};
use serde::Serialize;
use std::time::Instant;

/// What one front end took.
#[derive(Clone, Debug, Serialize)]
pub struct Tokenizing {
    /// What became what.
    pub what: &'static str,
    /// Bytes of the input.
    pub bytes: usize,
    /// Tokens of the input.
    pub tokens: usize,
    /// Median time of one input, in milliseconds.
    pub ms: f64,
    /// Tokens in a second.
    pub tokens_per_s: f64,
    /// Inputs in a second.
    pub inputs_per_s: f64,
}

/// Each front end that this build has: characters of 1 MiB of text, a JPEG of 500×375 pixels to the patches of a
/// 224×224 ViT, 30 seconds of WAV to the slices of Whisper's log-mel, and every window of the shipped log of CartPole.
///
/// # Errors
/// What a tokenizer refuses.
pub fn tokenizers() -> Result<Vec<Tokenizing>, BenchError> {
    Ok(vec![
        #[cfg(feature = "text")]
        characters()?,
        #[cfg(feature = "image")]
        patches()?,
        #[cfg(feature = "audio")]
        slices()?,
        #[cfg(feature = "trajectory")]
        windows()?,
    ])
}

/// Runs `encode`, which says how many tokens it made, for about a second.
#[cfg_attr(
    not(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory")),
    allow(dead_code)
)]
fn measure(
    what: &'static str,
    bytes: usize,
    mut encode: impl FnMut() -> Result<usize, BenchError>,
) -> Result<Tokenizing, BenchError> {
    let tokens = encode()?;
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || begun.elapsed().as_secs_f64() < 1.0 {
        let started = Instant::now();
        encode()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let median = median(seconds);
    Ok(Tokenizing {
        what,
        bytes,
        tokens,
        ms: 1e3 * median,
        tokens_per_s: tokens as f64 / median,
        inputs_per_s: 1.0 / median,
    })
}

#[cfg(feature = "text")]
fn characters() -> Result<Tokenizing, BenchError> {
    use smalti_contract::Tokenizer;
    let text = crate::data::read_text("builtin:text/smalti.txt")?;
    let text: String = text.chars().cycle().take(1 << 20).collect();
    let tokenizer =
        smalti_text::TextTokenizer::new(smalti_text::fit::characters([&*text], vec![], 1 << 20)?)?;
    measure("text to characters", text.len(), || Ok(tokenizer.encode(&text)?.len()))
}

#[cfg(feature = "image")]
fn patches() -> Result<Tokenizing, BenchError> {
    use smalti_contract::Tokenizer;
    use smalti_image::{Image, ImageConfig, ImageTokenizer, read, write_jpeg};
    let (width, height) = (500, 375);
    // Waves of several lengths: neither flat, which decodes too fast, nor noise, which no photograph is.
    let pixel = |i: usize| {
        let (x, y, c) = ((i / 3 % width) as f32, (i / 3 / width) as f32, (i % 3) as f32);
        (127.0 + 60.0 * (x * 0.05 + c).sin() + 40.0 * (y * 0.21).cos() + 20.0 * ((x + y) * 0.9).sin()) as u8
    };
    let image = Image::new(width, height, 3, (0..3 * width * height).map(pixel).collect())?;
    let jpeg = write_jpeg(&image, 90)?;
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(3, 16, [224, 224]))?;
    measure("JPEG of 500×375 to 16×16 patches of 224×224", jpeg.len(), || {
        Ok(tokenizer.encode(&read(&jpeg)?)?.len())
    })
}

#[cfg(feature = "audio")]
fn slices() -> Result<Tokenizing, BenchError> {
    use smalti_audio::{AudioConfig, AudioTokenizer, Waveform, read_wav, write_wav};
    use smalti_contract::Tokenizer;
    let mut clip = Waveform::silence(16_000, 30.0);
    let noise = crate::random::normal(&mut crate::random::generator(0), clip.samples.len());
    clip.samples.iter_mut().zip(noise).for_each(|(sample, noise)| *sample = 0.1 * noise);
    let wav = write_wav(&clip, 16)?;
    let tokenizer = AudioTokenizer::new(AudioConfig::default())?;
    measure("WAV of 30 s to log-mel slices", wav.len(), || Ok(tokenizer.encode(&read_wav(&wav)?)?.len()))
}

#[cfg(feature = "trajectory")]
fn windows() -> Result<Tokenizing, BenchError> {
    use smalti_contract::{TokenizeError, Tokenizer};
    use smalti_trajectory::{FitOptions, TrajectoryTokenizer, fit, npz};
    let log = include_bytes!("../../data/cartpole-mixed.npz");
    let refuse = |e: smalti_trajectory::TrajectoryError| TokenizeError::Input(e.to_string());
    let options = FitOptions::default();
    let context = options.context;
    let tokenizer =
        TrajectoryTokenizer::new(fit(&npz::read(log).map_err(refuse)?, options).map_err(refuse)?)?;
    measure("npz of 335 episodes to windows of 20 steps", log.len(), || {
        let mut tokens = 0;
        for episode in npz::read(log).map_err(refuse)? {
            let returns_to_go = episode.returns_to_go(1.0);
            for start in episode.window_starts(context) {
                tokens += tokenizer.encode(&episode.window(start, context, &returns_to_go))?.len();
            }
        }
        Ok(tokens)
    })
}
