//! Damaged files of every format: no panic, no hang, no memory beyond a bound.

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
    let valid = [8, 16, 24, 32].map(|bits| write_wav(&tone(300), bits).unwrap());
    // A byte can become a sample of four bytes, doubled while channels are mixed and vectors grow.
    survives("WAV", &valid, Bound::bytes(64 << 10).and_of_file(16), read);
}

#[test]
fn flac() {
    survives("FLAC", &[file("mono.flac"), file("stereo.flac")], Bound::bytes(DECODER), read);
}

#[test]
fn mp3() {
    survives("MP3", &[file("mono.mp3"), file("stereo.mp3")], Bound::bytes(DECODER), read);
}

#[test]
fn ogg() {
    survives("Ogg Vorbis", &[file("mono.ogg"), file("stereo.ogg")], Bound::bytes(DECODER), read);
}

#[test]
fn m4a() {
    survives("M4A", &[file("mono.m4a"), file("stereo.m4a")], Bound::bytes(DECODER), read);
}

#[test]
fn aac() {
    survives("AAC", &[file("mono.aac")], Bound::bytes(DECODER), read);
}
