//! Spectrograms against the published implementations (transformers, librosa), whose outputs lie in the
//! folder that SMALTI_GOLDEN names.

use safetensors::SafeTensors;
use smalti_audio::{
    AudioConfig, AudioTokenizer, MelConfig, MelNorm, MelScale, MelSpectrogram, Padding, Spectrum, read_wav,
};
use smalti_contract::Tokenizer;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN names the golden folder"))
        .join("audio")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every expected tensor `[n_mels, frames]` whose key is `family.CLIP` and then `suffix`, with its clip.
fn expected(family: &str, suffix: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let file = read("expected.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut found = vec![];
    for (key, tensor) in tensors.iter() {
        let clip =
            key.strip_prefix(family).and_then(|k| k.strip_prefix('.')).and_then(|k| k.strip_suffix(suffix));
        let Some(clip) = clip.filter(|clip| !clip.contains('.')) else { continue };
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        found.push((clip.to_string(), tensor.shape().to_vec(), values.collect()));
    }
    assert!(!found.is_empty(), "no key {family}.CLIP{suffix}");
    found
}

/// The largest difference, absolute, between `[n_mels, frames]` and our `[frames, n_mels]` from `first` on.
fn worst(expected: &[f32], shape: &[usize], ours: &[f32], first: usize) -> f32 {
    let (n_mels, frames) = (shape[0], shape[1]);
    let pairs = (0..n_mels).flat_map(|band| (0..frames).map(move |t| (band, t)));
    pairs
        .map(|(band, t)| (expected[band * frames + t] - ours[(first + t) * n_mels + band]).abs())
        .fold(0.0, f32::max)
}

fn whisper(n_mels: usize) -> AudioTokenizer {
    AudioTokenizer::new(AudioConfig {
        mel: MelConfig { n_mels, ..MelConfig::default() },
        clip_seconds: Some(30.0),
        frames_per_slice: 1,
        max_slices: 3000,
        ..AudioConfig::default()
    })
    .unwrap()
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn features_are_whispers() {
    for n_mels in [80, 128] {
        let tokenizer = whisper(n_mels);
        for (suffix, first) in [("", 0), (".last", 2990)] {
            for (clip, shape, values) in expected(&format!("whisper{n_mels}"), suffix) {
                let raw = read_wav(&read(&format!("{clip}.wav"))).unwrap();
                let tokens = tokenizer.encode(&raw).unwrap();
                let ours = tokens.groups[0].content.features().unwrap();
                assert_eq!(ours.len(), 3000 * n_mels);
                let off = worst(&values, &shape, ours, first);
                println!("whisper{n_mels}.{clip}{suffix}: {off:e}");
                assert!(off <= 1e-4, "whisper{n_mels}.{clip}{suffix} is off by {off}");
            }
        }
    }
}

fn check_mel(family: &str, config: MelConfig) {
    let mel = MelSpectrogram::new(config, 16000).unwrap();
    for (clip, shape, values) in expected(family, "") {
        let ours = mel.mel(&read_wav(&read(&format!("{clip}.wav"))).unwrap().samples);
        assert_eq!(ours.len(), shape[0] * shape[1], "{family}.{clip}");
        let loudest = values.iter().fold(0.0_f32, |most, v| most.max(*v));
        let off = worst(&values, &shape, &ours, 0);
        println!("{family}.{clip}: {off:e} of {loudest:e}");
        assert!(off <= 1e-5 * loudest, "{family}.{clip} is off by {off}, where the loudest is {loudest}");
    }
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn spectrograms_are_librosas() {
    check_mel(
        "librosa_slaney",
        MelConfig {
            n_fft: 1024,
            hop_length: 256,
            n_mels: 64,
            fmin: 20.0,
            fmax: Some(7600.0),
            padding: Padding::Zero,
            ..MelConfig::default()
        },
    );
    check_mel(
        "librosa_htk",
        MelConfig {
            n_fft: 512,
            win_length: Some(400),
            n_mels: 40,
            scale: MelScale::Htk,
            norm: MelNorm::None,
            padding: Padding::None,
            spectrum: Spectrum::Magnitude,
            ..MelConfig::default()
        },
    );
}
