//! Comparison with published implementations (transformers, librosa), whose outputs are in the folder SMALTI_GOLDEN:
//! every key of `audio/expected.safetensors` is the name of a front end and the name of a clip in that folder.

use safetensors::SafeTensors;
use smalti_audio::{
    AudioConfig, AudioTokenizer, Log, MelConfig, MelNorm, MelScale, MelSpectrogram, Padding, Spectrum,
    Waveform,
};
use smalti_contract::Tokenizer;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN names the golden folder"))
        .join("audio")
}

/// The clip with this name, in any format.
fn clip(name: &str) -> Option<Waveform> {
    let mut files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.file_stem().is_some_and(|stem| stem == name))?;
    let bytes = std::fs::read(&path).unwrap();
    Some(smalti_audio::read(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// The value of a key: `[rows, columns]` in row-major order.
struct Expected {
    values: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Expected {
    /// Transpose `[n_mels, frames]` to `[frames, n_mels]`.
    fn by_frame(&self) -> Vec<f32> {
        let place = |t: usize, band: usize| self.values[band * self.columns + t];
        (0..self.columns).flat_map(|t| (0..self.rows).map(move |band| place(t, band))).collect()
    }
}

/// The features of a clip, with one frame in each slice.
fn features(config: AudioConfig, clip: &Waveform) -> Vec<f32> {
    let tokenizer =
        AudioTokenizer::new(AudioConfig { frames_per_slice: 1, slice_hop: None, max_slices: 3000, ..config })
            .unwrap();
    tokenizer.encode(clip).unwrap().groups[0].content.features().unwrap().to_vec()
}

/// The tolerance of a value.
const LOGARITHM: f32 = 1e-4;
/// The tolerance for librosa: as a share of the value, and of the maximum.
const LIBROSA: (f32, f32) = (1e-4, 1e-7);
/// The additional tolerance for Kaldi, in amplitude, as a share of the frame's loudest band. torchaudio transforms in
/// single precision, whose rounding errors (an epsilon of 1.2e-7 of the loudest band) dominate 100 dB below it and
/// depend on the processor: torchaudio 2.11 on a second machine differs by up to 0.015.
const SINGLE_PRECISION: f32 = 2.4e-7;

/// The maximal difference as a share of the tolerance.
fn worst(ours: &[f32], expected: &[f32], allowed: impl Fn(usize) -> f32) -> f32 {
    assert_eq!(ours.len(), expected.len());
    let share = |i: usize| (ours[i] - expected[i]).abs() / allowed(i);
    (0..ours.len()).map(share).fold(0.0, |most, share| if share.is_nan() { share } else { most.max(share) })
}

fn loudest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::MIN, f32::max)
}

fn whisper(n_mels: usize, name: &str, expected: &Expected) -> f32 {
    let last = name.strip_suffix(".last");
    let (raw, last) = match clip(name) {
        Some(raw) => (raw, false),
        None => (last.and_then(clip).unwrap_or_else(|| panic!("there is no clip {name}")), true),
    };
    let ours = features(AudioConfig::whisper(n_mels), &raw);
    assert_eq!((ours.len(), expected.rows), (3000 * n_mels, n_mels), "{name}");
    let first = if last { 3000 - expected.columns } else { 0 };
    worst(&ours[first * n_mels..(first + expected.columns) * n_mels], &expected.by_frame(), |_| LOGARITHM)
}

fn ast(name: &str, expected: &Expected) -> f32 {
    let raw = clip(name).unwrap_or_else(|| panic!("there is no clip {name}"));
    let config = AudioConfig {
        clip_frames: Some(expected.rows),
        band_mean: vec![],
        band_std: vec![],
        ..AudioConfig::ast()
    };
    let frames: Vec<f32> = expected.values.chunks(expected.columns).map(loudest).collect();
    worst(&features(config, &raw), &expected.values, |i| {
        let below = frames[i / expected.columns] - expected.values[i]; // of powers
        LOGARITHM + 2.0 * SINGLE_PRECISION * (below / 2.0).exp()
    })
}

fn librosa(config: MelConfig, name: &str, expected: &Expected) -> f32 {
    let raw = clip(name).unwrap_or_else(|| panic!("there is no clip {name}"));
    let mel =
        MelSpectrogram::new(MelConfig { log: Log::None, top_db: None, ..config }, raw.sampling_rate).unwrap();
    assert_eq!(mel.config().n_mels, expected.rows, "{name}");
    let (expected, (relative, of_loudest)) = (expected.by_frame(), LIBROSA);
    let least = of_loudest * loudest(&expected);
    // The smallest positive number avoids 0 / 0 for silence.
    worst(&mel.mel(&raw.samples), &expected, |i| relative * expected[i].abs() + least + f32::MIN_POSITIVE)
}

fn librosa_slaney() -> MelConfig {
    MelConfig {
        n_fft: 1024,
        hop_length: 256,
        n_mels: 64,
        fmin: 20.0,
        fmax: Some(7600.0),
        ..MelConfig::librosa()
    }
}

fn librosa_htk() -> MelConfig {
    MelConfig {
        n_fft: 512,
        win_length: Some(400),
        hop_length: 160,
        n_mels: 40,
        scale: MelScale::Htk,
        norm: MelNorm::None,
        padding: Padding::None,
        spectrum: Spectrum::Magnitude,
        ..MelConfig::librosa()
    }
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn every_key_matches_the_published_front_end() {
    let path = folder().join("expected.safetensors");
    let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut shares, mut wrong) = (BTreeMap::<String, (usize, f32)>::new(), vec![]);
    for (key, tensor) in SafeTensors::deserialize(&file).unwrap().iter() {
        let &[rows, columns] = tensor.shape() else { panic!("{key} has the shape {:?}", tensor.shape()) };
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let expected = Expected { values: values.collect(), rows, columns };
        let (family, name) = key.split_once('.').unwrap_or_else(|| panic!("{key} names no clip"));
        let share = match family {
            "whisper80" => whisper(80, name, &expected),
            "whisper128" => whisper(128, name, &expected),
            "ast" => ast(name, &expected),
            "librosa_slaney" => librosa(librosa_slaney(), name, &expected),
            "librosa_htk" => librosa(librosa_htk(), name, &expected),
            _ => panic!("{key}: {family} is none of whisper80, whisper128, ast, librosa_slaney, librosa_htk"),
        };
        println!("{key}: {share:.4} of the tolerance");
        let (keys, most) = shares.entry(family.into()).or_default();
        (*keys, *most) = (*keys + 1, most.max(share));
        if share.is_nan() || share > 1.0 {
            wrong.push(format!("{key} differs by {share} times the tolerance"));
        }
    }
    shares.iter().for_each(|(family, (keys, most))| println!("{family}: {keys} keys, at worst {most:.4}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!shares.is_empty(), "{} holds no key", path.display());
}
