//! WAV files of every supported encoding, and corrupt ones.

use proptest::prelude::*;
use smalti_audio::{Waveform, read, write_wav};

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// A WAV file written by hand, independently of the crate's encoder.
struct File {
    codec: u16,
    channels: u16,
    sampling_rate: u32,
    bits: u16,
    data: Vec<u8>,
}

impl File {
    fn new(codec: u16, bits: u16, data: Vec<u8>) -> Self {
        Self { codec, channels: 1, sampling_rate: 8000, bits, data }
    }

    fn format(&self, tag: u16) -> Vec<u8> {
        let block = self.channels * self.bits.div_ceil(8);
        let mut format = vec![];
        format.extend(tag.to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.sampling_rate.to_le_bytes());
        format.extend(self.sampling_rate.wrapping_mul(u32::from(block)).to_le_bytes());
        format.extend(block.to_le_bytes());
        format.extend(self.bits.to_le_bytes());
        format
    }

    fn bytes(&self) -> Vec<u8> {
        riff(&[(b"fmt ", &self.format(self.codec)), (b"data", &self.data)])
    }

    /// As `WAVE_FORMAT_EXTENSIBLE`.
    fn extensible(&self) -> Vec<u8> {
        let mut format = self.format(EXTENSIBLE);
        format.extend(22u16.to_le_bytes());
        format.extend(self.bits.to_le_bytes());
        format.extend(0u32.to_le_bytes());
        format.extend(self.codec.to_le_bytes());
        format.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        riff(&[(b"fmt ", &format), (b"data", &self.data)])
    }
}

fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WAVE".to_vec();
    for (name, content) in chunks {
        body.extend(*name);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(*content);
        body.extend(&[0; 1][..content.len() % 2]);
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

fn sine() -> Vec<f64> {
    (0..801).map(|i| 0.7 * (f64::from(i) * 0.13).sin()).collect()
}

/// The sine as integers of `bits`, little-endian; those of 8 bits are unsigned.
fn integers(bits: u16) -> Vec<u8> {
    let level = |x: f64| (x * 2.0_f64.powi(i32::from(bits) - 1)).round() as i32;
    let bytes = |x: f64| match bits {
        8 => vec![(level(x) + 128) as u8],
        _ => level(x).to_le_bytes()[..usize::from(bits / 8)].to_vec(),
    };
    sine().into_iter().flat_map(bytes).collect()
}

fn doubles(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(f64::to_le_bytes).collect()
}

/// A file with these sizes of the file and of its data in the header.
fn with_sizes(file: &File, riff: u32, data: u32) -> Vec<u8> {
    let mut bytes = file.bytes();
    bytes[4..8].copy_from_slice(&riff.to_le_bytes());
    bytes[40..44].copy_from_slice(&data.to_le_bytes());
    bytes
}

/// An RF64 file: sizes in 64 bits in a chunk of their own, and none in the header.
fn rf64(file: &File, data_size: u64) -> Vec<u8> {
    let sizes = [file.data.len() as u64 + 72, data_size, file.data.len() as u64 / 2].map(u64::to_le_bytes);
    let sizes = [sizes.as_flattened(), &[0; 4]].concat();
    let mut bytes = riff(&[(b"ds64", &sizes), (b"fmt ", &file.format(file.codec)), (b"data", &file.data)]);
    bytes[..8].copy_from_slice(b"RF64\xff\xff\xff\xff");
    bytes[76..80].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes
}

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn error_of(bytes: &[u8]) -> String {
    read(bytes).expect_err("expected an error").to_string()
}

#[test]
fn every_encoding_holds_the_same_sine() {
    let cases = [
        (File::new(PCM, 8, integers(8)), 1.0 / 256.0),
        (File::new(PCM, 16, integers(16)), 1.0 / 65_536.0),
        (File::new(PCM, 24, integers(24)), 1.0 / 16_777_216.0),
        (File::new(PCM, 32, integers(32)), 0.0),
        (File::new(FLOAT, 32, floats(sine().into_iter().map(|x| x as f32))), 0.0),
        (File::new(FLOAT, 64, doubles(sine())), 0.0),
    ];
    for (file, half_step) in cases {
        for bytes in [file.bytes(), file.extensible()] {
            let clip = read(&bytes).unwrap();
            assert_eq!((clip.sampling_rate, clip.samples.len()), (8000, 801));
            for (found, expected) in clip.samples.iter().zip(sine()) {
                let off = (f64::from(*found) - expected).abs();
                assert!(off <= half_step + 1e-7, "{} bits, codec {}: off by {off}", file.bits, file.codec);
            }
        }
    }
}

/// G.711 names the levels of each segment; these are its formulas in steps of the smallest level, 14 bits for µ-law and
/// 13 for A-law, and values of its tables.
#[test]
fn a_law_and_mu_law_have_the_levels_of_g711() {
    let bytes: Vec<u8> = (0..=255).collect();
    let levels = |codec| {
        let file = File::new(codec, 8, bytes.clone());
        assert_eq!(read(&file.extensible()).unwrap(), read(&file.bytes()).unwrap());
        read(&file.bytes()).unwrap().samples
    };
    let (mu_law, a_law) = (levels(MU_LAW), levels(A_LAW));
    for (byte, levels) in (0..=255_u8).zip(mu_law.iter().zip(&a_law)) {
        let sign = |positive: bool| if positive { 1.0 } else { -1.0 };
        let parts = |byte: u8| (f32::from(byte & 15), i32::from(byte / 16 % 8));
        let (step, segment) = parts(!byte);
        let mu_law = sign(byte >= 128) * ((2.0 * step + 33.0) * 2_f32.powi(segment) - 33.0) / 8192.0;
        let (step, segment) = parts(byte ^ 0x55);
        let (step, width) = if segment == 0 { (step, 1) } else { (step + 16.0, segment) };
        let a_law = sign(byte >= 128) * (step + 0.5) * 2_f32.powi(width) / 4096.0;
        assert_eq!((*levels.0, *levels.1), (mu_law, a_law), "byte {byte}");
    }
    let of_16_bits = |levels: &[f32], byte: usize| levels[byte] * 32_768.0;
    let found = [0x00, 0x7f, 0x80, 0x8f, 0xff].map(|byte| of_16_bits(&mu_law, byte));
    assert_eq!(found, [-32_124.0, 0.0, 32_124.0, 16_764.0, 0.0]);
    let found = [0x2a, 0x55, 0xaa, 0xd5, 0x80].map(|byte| of_16_bits(&a_law, byte));
    assert_eq!(found, [-32_256.0, -8.0, 32_256.0, 8.0, 5504.0]);
}

#[test]
fn a_stream_is_read_up_to_the_end_of_its_file() {
    let file = File::new(PCM, 16, integers(16));
    let clip = read(&file.bytes()).unwrap();
    // As written by ffmpeg, sox and arecord, and by programs that were stopped before they completed the header.
    for (riff, data) in [
        (u32::MAX, u32::MAX),
        (u32::MAX, u32::MAX - 36),
        (0x7fff_f000, 0x7fff_f000 - 36),
        (0x8000_0024, 0x8000_0000),
        (0, 0),
        (36, 0),
    ] {
        assert_eq!(read(&with_sizes(&file, riff, data)).unwrap(), clip, "{riff} {data}");
        let stereo = File { channels: 2, ..File::new(PCM, 16, file.data.clone()) };
        let cut = read(&with_sizes(&stereo, riff, data)).unwrap();
        assert_eq!(cut.samples.len(), clip.samples.len() / 2, "the last frame is incomplete");
    }
    for (riff, data) in [(u32::MAX, 0x7ffe_0000), (0, 0x4000_0000), (u32::MAX, 1604)] {
        let problem = error_of(&with_sizes(&file, riff, data));
        assert!(problem.contains(&format!("truncated: expected {data} bytes in its chunk")), "{problem}");
    }
    let empty = riff(&[(b"fmt ", &file.format(PCM)), (b"data", &[]), (b"LIST", b"INFO")]);
    assert!(error_of(&empty).contains("has no samples"), "the other size in the header is right");
}

#[test]
fn rf64_has_sizes_of_64_bits() {
    let file = File::new(PCM, 16, integers(16));
    let clip = read(&file.bytes()).unwrap();
    let size = file.data.len() as u64;
    let tagged = [rf64(&file, size), b"LIST\x04\0\0\0INFO".to_vec()].concat();
    assert_eq!(read(&tagged).unwrap(), clip);
    assert_eq!(read(&rf64(&file, 0)).unwrap(), clip, "a stream");
    let problem = error_of(&rf64(&file, 1 << 40));
    assert!(problem.contains("truncated: expected 1099511627776 bytes in its chunk \"data\""), "{problem}");
}

#[test]
fn valid_bits_are_the_upper_bits_of_their_container() {
    let file = File::new(PCM, 32, integers(32));
    let mut bytes = file.extensible();
    bytes[38..40].copy_from_slice(&24u16.to_le_bytes());
    assert_eq!(read(&bytes).unwrap(), read(&file.bytes()).unwrap());
}

#[test]
fn channels_are_mixed_to_their_mean() {
    let frames = [0.75, 0.25, -1.0, 1.0, 0.5, 0.0];
    let stereo = File { channels: 2, ..File::new(FLOAT, 32, floats(frames)) };
    assert_eq!(read(&stereo.bytes()).unwrap().samples, [0.5, 0.0, 0.25]);
    let surround = File { channels: 6, ..File::new(FLOAT, 32, floats(frames)) };
    assert_eq!(read(&surround.extensible()).unwrap().samples, [0.25]);
}

#[test]
fn other_chunks_are_skipped_with_their_padding() {
    let file = File::new(PCM, 16, integers(16));
    let odd: &[u8] = b"INFOartist\0";
    let mut format = file.format(PCM);
    format.extend([0, 0]);
    let bytes = riff(&[
        (b"LIST", odd),
        (b"fmt ", &format),
        (b"fact", &[1, 0, 0]),
        (b"data", &file.data),
        (b"id3 ", odd),
    ]);
    assert_eq!(read(&bytes).unwrap(), read(&file.bytes()).unwrap());
}

#[test]
fn written_files_read_back() {
    let levels: Vec<i16> = (0..=u16::MAX).step_by(7).map(|level| level as i16).collect();
    let clip = Waveform {
        sampling_rate: 11_025,
        samples: levels.iter().map(|&l| f32::from(l) / 32_768.0).collect(),
    };
    let file = write_wav(&clip, 16).unwrap();
    assert_eq!(read(&file).unwrap(), clip, "every 16-bit level survives");
    assert_eq!(write_wav(&clip, 16).unwrap(), file);
    let coarse = read(&write_wav(&clip, 8).unwrap()).unwrap();
    assert!(coarse.samples.iter().zip(&clip.samples).all(|(a, b)| (a - b).abs() <= 1.0 / 128.0));
    let loud = Waveform { sampling_rate: 8000, samples: vec![-3.0, 3.0] };
    assert_eq!(read(&write_wav(&loud, 8).unwrap()).unwrap().samples, [-1.0, 127.0 / 128.0]);
}

#[test]
fn clips_that_cannot_be_written_are_errors() {
    let clip = |samples| Waveform { sampling_rate: 8000, samples };
    let problem = |clip: &Waveform, bits| write_wav(clip, bits).unwrap_err().to_string();
    assert!(problem(&clip(vec![0.0]), 12).contains("expected 8, 16, 24 or 32 bits; found 12"));
    assert!(problem(&clip(vec![]), 16).contains("has no samples"));
    assert!(problem(&clip(vec![0.0, f32::NAN]), 16).contains("sample 1 is NaN"));
    assert!(problem(&Waveform::silence(1, 10.0), 16).contains("sampling rate is 1 Hz"));
}

#[test]
fn unsupported_codecs_are_named() {
    let cases = [(2, "Microsoft ADPCM"), (0x11, "IMA ADPCM"), (0x55, "MP3"), (0x1234, "codec 0x1234")];
    for (codec, name) in cases {
        let file = File::new(codec, 8, vec![0; 64]);
        for bytes in [file.bytes(), file.extensible()] {
            let problem = error_of(&bytes);
            let expected = format!("encoded as {name}; only PCM, IEEE float, A-law and mu-law");
            assert!(problem.contains(&expected), "{problem}");
        }
    }
    assert!(
        error_of(&File::new(PCM, 12, vec![0; 64]).bytes()).contains("integers of 12 bits; 8, 16, 24 and 32")
    );
    let half = error_of(&File::new(FLOAT, 16, vec![0; 64]).bytes());
    assert!(half.contains("floats of 16 bits; 32 and 64 are supported"), "{half}");
    let wide = error_of(&File::new(MU_LAW, 16, vec![0; 64]).bytes());
    assert!(wide.contains("it has mu-law of 16 bits; 8 are supported"), "{wide}");
}

#[test]
fn invalid_samples_are_errors() {
    assert!(error_of(&File::new(PCM, 16, vec![]).bytes()).contains("has no samples"));
    for sampling_rate in [0, 1, 999, 384_001, u32::MAX] {
        let file = File { sampling_rate, ..File::new(PCM, 16, vec![0; 64]) };
        let expected = format!("sampling rate is {sampling_rate} Hz; 1000 to 384000 Hz are accepted");
        let problem = error_of(&file.bytes());
        assert!(problem.contains(&expected), "{problem}");
    }
    for invalid in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
        let file = File::new(FLOAT, 32, floats([0.0, 0.1, invalid, 0.2]));
        assert!(
            error_of(&file.bytes()).contains(&format!("sample 2 is {invalid:?}; samples must be finite"))
        );
    }
    let beyond = File::new(FLOAT, 64, doubles([0.0, 1e300]));
    assert!(error_of(&beyond.bytes()).contains("sample 1 is inf; samples must be finite"));
    let many = File { channels: 65, ..File::new(PCM, 8, vec![0; 65]) };
    assert!(error_of(&many.bytes()).contains("it has 65 channels; 1 to 64 are accepted"));
    let none = File { channels: 0, ..File::new(PCM, 16, vec![0; 64]) };
    assert!(error_of(&none.bytes()).contains("it has 0 channels; 1 to 64 are accepted"));
}

#[test]
fn corrupt_chunks_are_errors() {
    assert!(error_of(b"RIFF\0\0\0\0WAVE").contains("no data chunk"));
    let file = File::new(PCM, 16, vec![0; 64]);
    let without_format = riff(&[(b"data", &file.data)]);
    assert!(error_of(&without_format).contains("data comes before any \"fmt \" chunk"));
    let short_format = riff(&[(b"fmt ", &file.format(PCM)[..14]), (b"data", &file.data)]);
    assert!(error_of(&short_format).contains("\"fmt \" chunk has 14 bytes; at least 16"));
    let short_extensible = riff(&[(b"fmt ", &file.format(EXTENSIBLE)), (b"data", &file.data)]);
    assert!(error_of(&short_extensible).contains("\"fmt \" chunk has 16 bytes; at least 40"));
    let torn_sample = File::new(PCM, 16, vec![0; 63]);
    assert!(error_of(&torn_sample.bytes()).contains("its data has 63 bytes; expected a multiple of 2"));
    let torn_frame = File { channels: 2, ..File::new(PCM, 16, vec![0; 66]) };
    assert!(error_of(&torn_frame.bytes()).contains("its data has 66 bytes; expected a multiple of 4"));
}

#[test]
fn truncation_is_detected_at_every_byte() {
    let bytes = File::new(PCM, 16, vec![1; 64]).bytes();
    for n in 0..bytes.len() {
        assert!(read(&bytes[..n]).is_err(), "{n} of {} bytes", bytes.len());
    }
    assert!(error_of(&bytes[..100]).contains("truncated: expected 64 bytes in its chunk \"data\"; found 56"));
}

#[test]
fn a_chunk_size_of_gigabytes_is_an_error() {
    let mut bytes = File::new(PCM, 16, vec![0; 6]).bytes();
    bytes[40..44].copy_from_slice(&0xf000_0000_u32.to_le_bytes());
    assert!(error_of(&bytes).contains("expected 4026531840 bytes in its chunk \"data\"; found 6"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&[b"RIFF\0\0\0\0WAVE", &bytes[..]].concat());
    }

    #[test]
    fn no_mutation_panics(
        extensible: bool,
        changes in prop::collection::vec((0..80_usize, any::<u8>()), 1..6),
        cut in 0..200_usize,
    ) {
        let file = File { channels: 2, ..File::new(PCM, 24, vec![77; 120]) };
        let mut bytes = if extensible { file.extensible() } else { file.bytes() };
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(44));
        if let Ok(clip) = read(&bytes) {
            prop_assert!(!clip.samples.is_empty() && clip.samples.iter().all(|s| s.is_finite()));
        }
    }
}
