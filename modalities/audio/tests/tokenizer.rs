//! Slices: their number, their padding, their masks, and the contract.

use smalti_audio::{AudioConfig, AudioTokenizer, Augment, MelConfig, Waveform, write_wav};
use smalti_contract::{ContentSpec, TokenizeError, Tokenizer, Tokens, testing};

fn tone(sampling_rate: u32, n: usize) -> Waveform {
    let samples = (0..n).map(|i| 0.4 * (i as f32 * 2000.0 / sampling_rate as f32).sin()).collect();
    Waveform { sampling_rate, samples }
}

fn tokenizer(config: AudioConfig) -> AudioTokenizer {
    AudioTokenizer::new(config).unwrap()
}

fn features(tokens: &Tokens) -> &[f32] {
    tokens.groups[0].content.features().unwrap()
}

#[test]
fn keeps_the_contract() {
    let samples = [
        tone(8000, 4000),
        tone(16000, 16000),
        tone(44_100, 10_000),
        Waveform::silence(8000, 0.3),
        tone(8000, 1),
    ];
    testing::check(&tokenizer(AudioConfig::default()), &samples).unwrap();
    let whisper = AudioConfig {
        clip_seconds: Some(30.0),
        frames_per_slice: 1,
        max_slices: 3000,
        augment: Augment { speed: 0.1, time_mask: 20, ..Augment::default() },
        ..AudioConfig::default()
    };
    testing::check(&tokenizer(whisper), &samples).unwrap();
}

#[test]
fn a_slice_is_frames_in_a_row() {
    let by_frame = tokenizer(AudioConfig { frames_per_slice: 1, ..AudioConfig::default() });
    let by_seven = tokenizer(AudioConfig { frames_per_slice: 7, ..AudioConfig::default() });
    assert_eq!(by_seven.spec().kinds[0].content, ContentSpec::Features { dim: 560 });
    let clip = tone(16000, 16000);
    let (frames, slices) = (by_frame.encode(&clip).unwrap(), by_seven.encode(&clip).unwrap());
    assert_eq!((frames.len(), slices.len()), (100, 15));
    assert_eq!(slices.groups[0].time, (0..15).collect::<Vec<u32>>());
    let (sound, padding) = features(&slices).split_at(100 * 80);
    assert_eq!(sound, features(&frames));
    // The padding after the sound is this clip's floor: 80 dB, which are 2, below its maximum.
    let loudest = sound.iter().copied().fold(f32::MIN, f32::max);
    assert!(padding.len() == 5 * 80 && padding.iter().all(|v| (v - (loudest - 2.0)).abs() < 1e-6));
}

#[test]
fn clips_are_padded_or_cut_to_clip_seconds() {
    let config = AudioConfig { clip_seconds: Some(1.0), frames_per_slice: 1, ..AudioConfig::default() };
    let (fixed, free) =
        (tokenizer(config), tokenizer(AudioConfig { frames_per_slice: 1, ..AudioConfig::default() }));
    assert_eq!(fixed.encode(&tone(8000, 80)).unwrap().len(), 100);
    // Cutting before resampling gives the same result as cutting after it.
    for sampling_rate in [1000, 16_000, 44_100, 44_101] {
        let long = tone(sampling_rate, sampling_rate as usize * 9);
        let mut whole = long.resample(16_000).unwrap();
        whole.samples.truncate(16_000);
        assert_eq!(fixed.encode(&long).unwrap(), free.encode(&whole).unwrap(), "{sampling_rate} Hz");
    }
}

#[test]
fn spectrograms_are_padded_or_cut_to_clip_frames() {
    let config = AudioConfig { frames_per_slice: 1, slice_hop: None, ..AudioConfig::ast() };
    let plain = AudioConfig { clip_frames: None, max_slices: 4000, ..config.clone() };
    let fixed = AudioConfig { clip_frames: Some(50), max_slices: 50, ..config };
    let (plain, fixed) = (tokenizer(plain), tokenizer(fixed));
    let short = fixed.encode(&tone(16000, 4000)).unwrap();
    let whole = plain.encode(&tone(16000, 4000)).unwrap(); // 23 frames
    assert_eq!(features(&short)[..23 * 128], features(&whole)[..]);
    // A spectrogram is padded with zeros, which are then normalised like all values.
    let zero = (0.0 + 4.267_739_3) / (2.0 * 4.568_997_4);
    assert!(features(&short)[23 * 128..].iter().all(|value| (value - zero).abs() < 1e-6));
    let long = fixed.encode(&tone(16000, 40_000)).unwrap();
    let whole = plain.encode(&tone(16000, 40_000)).unwrap();
    assert_eq!(features(&long), &features(&whole)[..50 * 128]);
}

#[test]
fn too_many_slices_are_an_error() {
    let short = tokenizer(AudioConfig { max_slices: 10, ..AudioConfig::default() });
    assert_eq!(short.encode(&tone(16000, 6400)).unwrap().len(), 10);
    let error = short.encode(&tone(16000, 6560)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "41 frames make 11 slices of 4; max_slices is 10: try max_slices=11 in training"
    );
}

#[test]
fn invalid_clips_are_errors() {
    let tokenizer = tokenizer(AudioConfig::default());
    let problem = |clip: &Waveform| tokenizer.encode(clip).unwrap_err().to_string();
    assert_eq!(problem(&Waveform { sampling_rate: 8000, samples: vec![] }), "the clip has no samples");
    assert!(problem(&tone(500, 100)).starts_with("the sampling rate is 500 Hz"));
    let mut broken = tone(8000, 100);
    broken.samples[42] = f32::NEG_INFINITY;
    assert_eq!(problem(&broken), "sample 42 is -inf; samples must be finite, between -1000000 and 1000000");
    assert!(matches!(tokenizer.decode(&Tokens::default()), Err(TokenizeError::NotInvertible { .. })));
}

#[test]
fn a_file_is_one_clip() {
    let tokenizer = tokenizer(AudioConfig::default());
    let file = write_wav(&tone(8000, 800), 16).unwrap();
    let clips: Vec<_> = tokenizer.raw_inputs(&file).collect::<Result<_, _>>().unwrap();
    assert_eq!((clips.len(), clips[0].samples.len()), (1, 800));
    assert!(tokenizer.raw_inputs(b"").next().unwrap().is_err());
}

#[test]
fn invalid_settings_are_errors() {
    let standard = AudioConfig::default;
    let augment = Augment::default;
    let cases = [
        (AudioConfig { sampling_rate: 1, ..standard() }, "the sampling rate is 1 Hz"),
        (AudioConfig { frames_per_slice: 0, ..standard() }, "frames_per_slice is 0"),
        (AudioConfig { frames_per_slice: usize::MAX, ..standard() }, "it must be 1 to 4096"),
        (AudioConfig { max_slices: 0, ..standard() }, "max_slices is 0"),
        (AudioConfig { clip_seconds: Some(-1.0), ..standard() }, "clip_seconds is -1"),
        (AudioConfig { clip_seconds: Some(f32::NAN), ..standard() }, "clip_seconds is NaN"),
        (
            AudioConfig { clip_seconds: Some(60.0), ..standard() },
            "clip_seconds is 60: 6000 frames make 1500 slices",
        ),
        (AudioConfig { clip_seconds: Some(f32::INFINITY), ..standard() }, "at most 268435456 samples long"),
        (
            AudioConfig { mel: MelConfig { hop_length: 0, ..MelConfig::default() }, ..standard() },
            "hop_length is 0",
        ),
        (AudioConfig { augment: Augment { speed: 0.5, ..augment() }, ..standard() }, "augment.speed is 0.5"),
        (
            AudioConfig { augment: Augment { noise: f32::NAN, ..augment() }, ..standard() },
            "augment.noise is NaN",
        ),
        (
            AudioConfig { augment: Augment { time_shift: -1.0, ..augment() }, ..standard() },
            "augment.time_shift is -1",
        ),
        (
            AudioConfig { augment: Augment { time_mask_share: 1.5, ..augment() }, ..standard() },
            "augment.time_mask_share is 1.5",
        ),
        (AudioConfig { clip_frames: Some(0), ..standard() }, "clip_frames is 0; it must be at least 1"),
        (
            AudioConfig { clip_frames: Some(9), clip_seconds: Some(1.0), ..standard() },
            "clip_frames is 9; it and clip_seconds exclude each other",
        ),
        (AudioConfig { clip_frames: Some(9000), ..standard() }, "clip_frames is 9000: 9000 frames make 2250"),
        (
            AudioConfig { band_mean: vec![0.0; 3], band_std: vec![1.0; 3], ..standard() },
            "hold 3 and 3 numbers",
        ),
    ];
    for (config, problem) in cases {
        match AudioTokenizer::new(config) {
            Err(error) => assert!(error.to_string().contains(problem), "{error} instead of {problem}"),
            Ok(_) => panic!("expected an error: {problem}"),
        }
    }
}

#[test]
fn unknown_settings_are_errors() {
    for json in [r#"{"sampling_rat": 8000}"#, r#"{"mel": {"mels": 80}}"#, r#"{"augment": {"pitch": 1}}"#] {
        let error = serde_json::from_str::<AudioConfig>(json).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
    let config: AudioConfig =
        serde_json::from_str(r#"{"mel": {"scale": "htk", "padding": "zero"}}"#).unwrap();
    assert_eq!(config.mel.hop_length, 160);
}

#[test]
fn masks_hide_one_run_of_frames_and_one_of_bands() {
    let augment = Augment { time_mask: 12, frequency_mask: 20, ..Augment::default() };
    let masking = tokenizer(AudioConfig { augment, ..AudioConfig::default() });
    let tokens = masking.encode(&tone(16000, 16000)).unwrap();
    let mean = features(&tokens).iter().map(|&v| f64::from(v)).sum::<f64>() / features(&tokens).len() as f64;
    let mut widest = (0, 0);
    for seed in 0..100 {
        let masked = masking.augment_tokens(tokens.clone(), seed);
        assert_eq!(masked, masking.augment_tokens(tokens.clone(), seed));
        masking.spec().check(&masked).unwrap();
        let hidden =
            |t: usize, band: usize| features(&masked)[t * 80 + band] != features(&tokens)[t * 80 + band];
        let frames: Vec<usize> = (0..100).filter(|&t| (0..80).all(|band| hidden(t, band))).collect();
        let bands: Vec<usize> = (0..80).filter(|&band| (0..100).all(|t| hidden(t, band))).collect();
        for run in [&frames, &bands] {
            assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1), "{run:?} are in a row");
        }
        for (t, frame) in features(&masked).chunks(80).enumerate() {
            for (band, value) in frame.iter().enumerate() {
                let covered = frames.contains(&t) || bands.contains(&band);
                assert_eq!(hidden(t, band), covered, "frame {t}, band {band}");
                assert!(!covered || (f64::from(*value) - mean).abs() < 1e-5);
            }
        }
        widest = (widest.0.max(frames.len()), widest.1.max(bands.len()));
    }
    assert_eq!(widest, (12, 20));
    let plain = tokenizer(AudioConfig::default());
    assert_eq!(plain.augment_tokens(tokens.clone(), 1), tokens);
}

#[test]
fn the_seed_determines_the_augmentation() {
    let augment = Augment { speed: 0.1, gain_db: 6.0, noise: 0.05, time_shift: 0.02, ..Augment::default() };
    let varied = tokenizer(AudioConfig { augment, ..AudioConfig::default() });
    assert_eq!(varied.augment(tone(8000, 4000), 5), varied.augment(tone(8000, 4000), 5));
    assert_ne!(varied.augment(tone(8000, 4000), 5), varied.augment(tone(8000, 4000), 6));
}
