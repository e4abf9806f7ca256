//! A stream gives the same slices as the whole clip.

use proptest::prelude::*;
use smalti_audio::{AudioConfig, AudioTokenizer, Log, MelConfig, Padding, Waveform};
use smalti_contract::{Tokenizer, Tokens};

/// A tone that rises and falls, without repetition.
fn sound(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.07 + 8.0 * (i as f32 * 0.003).sin()).sin() * 0.4).collect()
}

fn open(mel: MelConfig) -> AudioConfig {
    AudioConfig { mel, ..AudioConfig::default() }
}

fn configs() -> Vec<AudioConfig> {
    let standard = MelConfig { log: Log::Log10, ..MelConfig::default() };
    vec![
        open(standard.clone()),
        AudioConfig { frames_per_slice: 5, slice_hop: Some(3), ..open(standard.clone()) },
        open(MelConfig::kaldi(16_000, 80)),
        open(MelConfig { padding: Padding::Edge, keep_last: true, ..standard.clone() }),
        open(MelConfig { log: Log::Db, padding: Padding::Zero, hop_length: 390, ..standard.clone() }),
        AudioConfig {
            band_mean: vec![-3.0],
            band_std: vec![2.0],
            ..open(MelConfig { log: Log::Ln, ..standard })
        },
        AudioConfig { clip_seconds: Some(0.25), ..AudioConfig::default() },
    ]
}

/// The features, order and time of all slices, concatenated.
fn joined(pieces: &[Tokens]) -> (Vec<f32>, Vec<u32>, Vec<u32>) {
    let groups = || pieces.iter().flat_map(|tokens| &tokens.groups);
    (
        groups().flat_map(|group| group.content.features().unwrap()).copied().collect(),
        groups().flat_map(|group| &group.order).copied().collect(),
        groups().flat_map(|group| &group.time).copied().collect(),
    )
}

fn streamed(tokenizer: &AudioTokenizer, clip: &Waveform, sizes: &[usize]) -> Vec<Tokens> {
    let mut stream = tokenizer.stream(clip.sampling_rate).unwrap();
    let (mut tokens, mut rest) = (vec![], &clip.samples[..]);
    for size in sizes.iter().cycle() {
        let (piece, later) = rest.split_at((*size).min(rest.len()));
        tokens.extend(stream.push(piece).unwrap());
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    tokens.extend(stream.finish().unwrap());
    tokens
}

/// The encoded clip, or, with a fixed length, each of the clips in turn.
fn encoded(tokenizer: &AudioTokenizer, clip: &Waveform) -> Vec<Tokens> {
    let Some(seconds) = tokenizer.config().clip_seconds else { return vec![tokenizer.encode(clip).unwrap()] };
    let rate = tokenizer.config().sampling_rate;
    let window = (seconds * rate as f32) as usize;
    let at_our_rate = clip.resample(rate).unwrap().samples;
    let clips =
        at_our_rate.chunks(window).map(|part| Waveform { sampling_rate: rate, samples: part.to_vec() });
    clips.map(|clip| tokenizer.encode(&clip).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_size_give_the_slices_of_the_whole(
        config in 0..configs().len(),
        n in 1..12_000_usize,
        sizes in prop::collection::vec(prop_oneof![0..9_usize, 100..700_usize, 1_000..9_000_usize], 1..8),
        sampling_rate in prop_oneof![3 => Just(16_000_u32), 1 => Just(44_100), 1 => Just(8_000)],
    ) {
        let sizes: Vec<usize> = sizes.into_iter().chain([37]).collect();
        let tokenizer = AudioTokenizer::new(configs()[config].clone()).unwrap();
        let clip = Waveform { sampling_rate, samples: sound(n) };
        let (streamed, encoded) = (streamed(&tokenizer, &clip, &sizes), encoded(&tokenizer, &clip));
        prop_assert_eq!(joined(&streamed), joined(&encoded));
    }
}

#[test]
fn slices_are_returned_as_soon_as_their_samples_arrive() {
    let tokenizer = AudioTokenizer::new(open(MelConfig::kaldi(16_000, 80))).unwrap();
    let mut stream = tokenizer.stream(16_000).unwrap();
    // Slices of four frames: 400 samples and three times 160 more, then four times 160.
    assert!(stream.push(&sound(879)).unwrap().is_empty());
    assert_eq!(stream.push(&[0.0]).unwrap()[0].len(), 1);
    assert!(stream.push(&sound(639)).unwrap().is_empty());
    let second = &stream.push(&[0.0]).unwrap()[0];
    assert_eq!((&second.groups[0].order[..], &second.groups[0].time[..]), (&[1][..], &[1][..]));
    assert!(stream.finish().unwrap().is_empty(), "no frame has begun");
}

#[test]
fn a_clip_of_fixed_length_is_returned_when_it_is_full() {
    let config = AudioConfig { clip_seconds: Some(1.0), ..AudioConfig::default() };
    let tokenizer = AudioTokenizer::new(config).unwrap();
    let mut stream = tokenizer.stream(16_000).unwrap();
    assert!(stream.push(&sound(15_999)).unwrap().is_empty());
    let closed = stream.push(&sound(16_001)).unwrap();
    assert_eq!(closed.iter().map(Tokens::len).collect::<Vec<_>>(), [25, 25]);
    assert!(stream.finish().unwrap().is_empty());
}

#[test]
fn an_empty_stream_gives_no_slices() {
    let tokenizer = AudioTokenizer::new(open(MelConfig::kaldi(16_000, 80))).unwrap();
    assert!(tokenizer.stream(16_000).unwrap().finish().unwrap().is_empty());
}

#[test]
fn settings_that_cannot_be_streamed_are_errors() {
    let error_of = |config| {
        let tokenizer = AudioTokenizer::new(config).unwrap();
        match tokenizer.stream(16_000) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("expected an error"),
        }
    };
    let whisper = error_of(AudioConfig::default());
    assert!(whisper.contains("bounded by the loudest of the whole clip; set clip_seconds"), "{whisper}");
    assert!(error_of(AudioConfig::librosa()).contains("without top_db"));
    assert!(error_of(AudioConfig::ast()).contains("clip_frames"));
}

#[test]
fn an_invalid_sample_is_an_error_with_its_index() {
    let tokenizer = AudioTokenizer::new(open(MelConfig::kaldi(16_000, 80))).unwrap();
    assert!(tokenizer.stream(1).is_err());
    let mut stream = tokenizer.stream(16_000).unwrap();
    stream.push(&sound(100)).unwrap();
    let error = stream.push(&[0.0, f32::NAN]).unwrap_err().to_string();
    assert_eq!(error, "sample 101 is NaN; samples must be finite, between -1000000 and 1000000");
}

#[test]
fn more_than_max_slices_is_an_error() {
    let config = AudioConfig { max_slices: 2, ..open(MelConfig::kaldi(16_000, 80)) };
    let tokenizer = AudioTokenizer::new(config).unwrap();
    let mut stream = tokenizer.stream(16_000).unwrap();
    assert_eq!(stream.push(&sound(1600)).unwrap()[0].len(), 2);
    assert!(stream.push(&sound(1600)).unwrap_err().to_string().ends_with("max_slices is 2"));
}
