//! Recordings in every format against the tone that they were made of, and what is refused.

use smalti_audio::{Waveform, read};
use std::f64::consts::TAU;
use std::path::Path;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new("tests/files").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).expect_err("should be refused").to_string()
}

/// What sine of 1 kHz fits best in the middle of a clip: its amplitude, where it begins in samples (of which a period
/// has `sample_rate / 1000`), and how many dB it lies above all that it does not explain.
fn tone(clip: &Waveform) -> (f64, f64, f64) {
    let (n, rate) = (clip.samples.len(), f64::from(clip.sample_rate));
    let middle = n / 4..n * 3 / 4;
    // Whole periods, over which sine and cosine are orthogonal.
    let period = rate / 1000.0;
    let periods = (middle.len() as f64 / period).floor();
    let middle = middle.start..middle.start + (periods * period).round() as usize;
    let half = middle.len() as f64 / 2.0;
    let angle = |i: usize| TAU * i as f64 / period;
    let sample = |i: usize| f64::from(clip.samples[i]);
    let sine = middle.clone().map(|i| sample(i) * angle(i).sin()).sum::<f64>() / half;
    let cosine = middle.clone().map(|i| sample(i) * angle(i).cos()).sum::<f64>() / half;
    let rest = |i: usize| sample(i) - sine * angle(i).sin() - cosine * angle(i).cos();
    let noise = middle.map(|i| rest(i).powi(2)).sum::<f64>() / half;
    let power = sine * sine + cosine * cosine;
    (power.sqrt(), -cosine.atan2(sine) / TAU * period, 10.0 * (power / noise).log10())
}

#[test]
fn every_format_holds_the_tone_in_its_place() {
    // (file, Hz, samples, at least so many dB of tone above all else)
    let cases = [
        ("mono.flac", 16_000, 4_000, 80.0),
        ("mono.mp3", 16_000, 4_000, 40.0),
        ("mono.ogg", 16_000, 4_000, 30.0),
        ("mono.m4a", 16_000, 4_000, 40.0),
        ("stereo.flac", 44_100, 4_410, 100.0),
        ("stereo.mp3", 44_100, 11_025, 40.0),
        ("stereo.ogg", 44_100, 11_025, 40.0),
        ("stereo.m4a", 44_100, 11_025, 40.0),
    ];
    for (name, rate, samples, least) in cases {
        let clip = read(&file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((clip.sample_rate, clip.samples.len()), (rate, samples), "{name}");
        let (amplitude, begin, snr) = tone(&clip);
        println!("{name}: amplitude {amplitude:.4}, off by {begin:.3} samples, {snr:.0} dB");
        // Of two channels one is silent, so that their mean is half as loud.
        let expected = if name.starts_with("stereo") { 0.25 } else { 0.5 };
        // LAME turns the sound down by 5%.
        let least_loud = if name.ends_with("mp3") { 0.94 } else { 0.99 };
        assert!((least_loud..1.02).contains(&(amplitude / expected)), "{name}: {amplitude}");
        assert!(begin.abs() < 0.2, "{name}: {begin} samples");
        assert!(snr > least, "{name}: {snr} dB");
    }
}

#[test]
fn a_bare_aac_stream_keeps_its_encoders_delay() {
    let clip = read(&file("mono.aac")).unwrap();
    // 1,024 samples of delay, which nothing in the file tells, and whole blocks of 1,024.
    assert_eq!((clip.sample_rate, clip.samples.len()), (16_000, 5 * 1024));
    let (amplitude, begin, snr) = tone(&clip);
    assert!((amplitude - 0.5).abs() < 0.005 && begin.abs() < 0.2 && snr > 40.0, "{amplitude} {begin} {snr}");
    assert!(clip.samples[..900].iter().all(|sample| sample.abs() < 0.05));
}

#[test]
fn the_name_does_not_matter_and_tags_are_passed_over() {
    let plain = file("mono.mp3");
    // An ID3v2 tag of 300 bytes, whose size is written in sevens of bits, and an ID3v1 tag at the end.
    let front = [b"ID3\x04\0\0\0\0\x02\x2c".to_vec(), vec![0xff; 300]].concat();
    let back = [b"TAG".to_vec(), vec![b' '; 125]].concat();
    let tagged = [front.clone(), plain.clone(), back].concat();
    assert_eq!(read(&tagged).unwrap(), read(&plain).unwrap());
    let flac = file("mono.flac");
    assert_eq!(read(&[front, flac.clone()].concat()).unwrap(), read(&flac).unwrap());
}

#[test]
fn what_is_none_of_the_formats_is_named() {
    assert_eq!(refused(b""), "not readable as audio: the file is empty");
    assert_eq!(
        refused(b"\x89PNG\r\n\x1a\n"),
        "not readable as audio: it begins with \"\\x89PNG\\r\\n\\x1a\\n\", which is none of WAV, FLAC, MP3, Ogg \
         Vorbis, M4A and AAC"
    );
    assert!(refused(b"RIFF\0\0\0\0AVI LIST").contains("begins with \"RIFF\\x00\\x00\\x00\\x00AVI \""));
    assert!(refused(b"ID3\x04\0\0\x7f\x7f\x7f\x7f").contains("the file is empty"), "all of it is a tag");
    let opus = refused(&file("opus.ogg"));
    assert_eq!(opus, "not readable as Ogg Vorbis: it is encoded as Opus; only Vorbis and FLAC are supported");
}

#[test]
fn a_file_that_ends_early_is_refused() {
    for name in ["mono.flac", "stereo.flac", "mono.mp3", "mono.ogg", "mono.m4a", "mono.aac", "stereo.m4a"] {
        let bytes = file(name);
        for share in [0.05, 0.3, 0.5, 0.8, 0.97] {
            let cut = &bytes[..(bytes.len() as f64 * share) as usize];
            let problem = refused(cut);
            assert!(problem.starts_with("not readable as "), "{name} to {share}: {problem}");
        }
        let problem = refused(&bytes[..bytes.len() * 3 / 4]);
        assert!(problem.contains("the file is cut short"), "{name}: {problem}");
    }
}
