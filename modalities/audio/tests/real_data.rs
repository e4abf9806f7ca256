//! Recorded speech, in the folder SMALTI_DATA.

use smalti_audio::{AudioConfig, AudioTokenizer};
use smalti_contract::Tokenizer;
use std::io::Read;
use std::path::PathBuf;

/// Encode every WAV of a tar; returns their number and their total length in seconds.
fn encode_all(tar: &str) -> (usize, f32) {
    let path =
        PathBuf::from(std::env::var("SMALTI_DATA").expect("SMALTI_DATA names the data folder")).join(tar);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let tokenizer = AudioTokenizer::new(AudioConfig::default()).unwrap();
    let (mut clips, mut seconds) = (0, 0.0);
    for entry in tar::Archive::new(file).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if !name.ends_with(".wav") {
            continue;
        }
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).unwrap();
        for clip in tokenizer.raw_inputs(&bytes) {
            let clip = clip.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(clip.sampling_rate, 8000, "{name}");
            let tokens = tokenizer.encode(&clip).unwrap_or_else(|e| panic!("{name}: {e}"));
            tokenizer.spec().check(&tokens).unwrap_or_else(|e| panic!("{name}: {e}"));
            clips += 1;
            seconds += clip.seconds();
        }
    }
    (clips, seconds)
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn spoken_digits() {
    let (clips, seconds) = encode_all("audio/fsdd/recordings.tar");
    assert_eq!(clips, 2500);
    assert!((900.0..1500.0).contains(&seconds), "{seconds} s");
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn telephone_prompts() {
    let (clips, seconds) = encode_all("audio/asterisk-en/prompts.tar");
    assert_eq!(clips, 347);
    assert!((600.0..900.0).contains(&seconds), "{seconds} s");
}
