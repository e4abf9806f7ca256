//! Damaged files of every format: no panic, no hang, no memory beyond a bound.

mod ogg;

use smalti_audio::{Waveform, read, write_wav};
use smalti_mutation::{Bound, Counting, survives};
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The memory of a decoder in addition to the samples: tables, and buffers sized by damaged headers.
const DECODER: usize = 8 << 20;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new("tests/files").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn wav() {
    let tone = |n: usize| Waveform {
        sampling_rate: 8000,
        samples: (0..n).map(|i| (i as f32 * 0.3).sin()).collect(),
    };
    let integers = [8, 16, 24, 32].map(|bits| write_wav(&tone(300), bits).unwrap());
    // The same bytes as floats of 64 bits (of which these are valid), A-law and µ-law, and as a stream.
    let with = |at: usize, bytes: &[u8], file: &[u8]| {
        let mut file = file.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let doubles: Vec<u8> = tone(75).samples.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
    let doubles = with(44, &doubles, &with(32, &[8, 0, 64, 0], &with(20, &[3], &integers[1])));
    let laws = [6, 7].map(|codec| with(20, &[codec], &integers[0]));
    let stream = with(40, &[0xff; 4], &with(4, &[0xff; 4], &integers[1]));
    let valid = [&integers[..], &laws, &[doubles, stream]].concat();
    // A byte can become a sample of four bytes, doubled while channels are mixed and vectors grow.
    survives("WAV", &valid, Bound::bytes(64 << 10).and_of_file(16), read);
}

#[test]
fn flac() {
    survives("FLAC", &[file("mono.flac"), file("stereo.flac")], Bound::bytes(DECODER), read);
}

#[test]
fn mp3() {
    let after_junk = [vec![0; 417], file("mono.mp3")].concat();
    survives("MP3", &[file("mono.mp3"), file("stereo.mp3"), after_junk], Bound::bytes(DECODER), read);
}

#[test]
fn ogg() {
    let unmarked = ogg::pages(&file("mono.ogg"), 2000, 0).concat();
    survives("Ogg Vorbis", &[file("mono.ogg"), file("stereo.ogg"), unmarked], Bound::bytes(DECODER), read);
}

/// Damage under right checksums, which the first test does not reach. It makes the decoder panic, which is an error.
#[test]
fn ogg_with_right_checksums() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !smalti_contract::panics::is_caught() {
            usual(panic);
        }
    }));
    let valid = [file("mono.ogg"), file("stereo.ogg")];
    survives("Ogg Vorbis, right checksums", &valid, Bound::bytes(64 << 20), |bytes| {
        read(&ogg::with_checksums(bytes))
    });
}

#[test]
fn m4a() {
    survives("M4A", &[file("mono.m4a"), file("stereo.m4a")], Bound::bytes(DECODER), read);
}

#[test]
fn aac() {
    survives("AAC", &[file("mono.aac")], Bound::bytes(DECODER), read);
}
