//! Decoding of every format, compared with the source tone, and errors.

mod ogg;

use ogg::{page, pages, with_checksums};
use smalti_audio::{Waveform, read};
use std::f64::consts::TAU;
use std::path::Path;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new("tests/files").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn error_of(bytes: &[u8]) -> String {
    read(bytes).expect_err("expected an error").to_string()
}

/// Fit a sine of 1 kHz to the middle of a clip: its amplitude, its phase in samples (a period has `sampling_rate /
/// 1000`), and its signal-to-noise ratio in dB.
fn tone(clip: &Waveform) -> (f64, f64, f64) {
    let (n, rate) = (clip.samples.len(), f64::from(clip.sampling_rate));
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
fn every_format_decodes_to_the_tone_without_delay() {
    // (file, Hz, samples, minimal signal-to-noise ratio in dB)
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
        assert_eq!((clip.sampling_rate, clip.samples.len()), (rate, samples), "{name}");
        let (amplitude, delay, snr) = tone(&clip);
        println!("{name}: amplitude {amplitude:.4}, off by {delay:.3} samples, {snr:.0} dB");
        // One of two channels is silent, so their mean has half the amplitude.
        let expected = if name.starts_with("stereo") { 0.25 } else { 0.5 };
        // LAME lowers the volume by 5%.
        let least_loud = if name.ends_with("mp3") { 0.94 } else { 0.99 };
        assert!((least_loud..1.02).contains(&(amplitude / expected)), "{name}: {amplitude}");
        assert!(delay.abs() < 0.2, "{name}: {delay} samples");
        assert!(snr > least, "{name}: {snr} dB");
    }
}

#[test]
fn a_bare_aac_stream_keeps_its_encoders_delay() {
    let clip = read(&file("mono.aac")).unwrap();
    // 1,024 samples of delay, which the file does not state, and whole blocks of 1,024.
    assert_eq!((clip.sampling_rate, clip.samples.len()), (16_000, 5 * 1024));
    let (amplitude, delay, snr) = tone(&clip);
    assert!((amplitude - 0.5).abs() < 0.005 && delay.abs() < 0.2 && snr > 40.0, "{amplitude} {delay} {snr}");
    assert!(clip.samples[..900].iter().all(|sample| sample.abs() < 0.05));
}

#[test]
fn tags_are_skipped() {
    let plain = file("mono.mp3");
    // An ID3v2 tag of 300 bytes, whose size has seven bits in each byte, and an ID3v1 tag at the end.
    let front = [b"ID3\x04\0\0\0\0\x02\x2c".to_vec(), vec![0xff; 300]].concat();
    let back = [b"TAG".to_vec(), vec![b' '; 125]].concat();
    let tagged = [front.clone(), plain.clone(), back].concat();
    assert_eq!(read(&tagged).unwrap(), read(&plain).unwrap());
    let flac = file("mono.flac");
    assert_eq!(read(&[front, flac.clone()].concat()).unwrap(), read(&flac).unwrap());
}

#[test]
fn junk_before_an_mp3_is_skipped() {
    for name in ["mono.mp3", "stereo.mp3"] {
        let mp3 = file(name).split_off(20);
        assert!(mp3.starts_with(&[0xff]), "the file's own tag has 20 bytes");
        let clip = read(&mp3).unwrap();
        let tag = b"ID3\x03\0\0\0\0\0\x14".to_vec(); // of 20 bytes
        let chance =
            b"\xff\xfb\x90\x64 one header of MPEG 1, and no other where its frame would end".to_vec();
        for junk in [
            vec![0],
            vec![0; 417],
            vec![0xff; 9],
            [tag, vec![0; 20], b"    ".to_vec()].concat(),
            [vec![0], chance].concat(),
            [vec![1], mp3[mp3.len() - 99..].to_vec()].concat(),
            vec![7; (1 << 16) - 1],
        ] {
            let start = junk.len();
            let found =
                read(&[junk, mp3.clone()].concat()).unwrap_or_else(|e| panic!("{name}, {start}: {e}"));
            assert_eq!(found, clip, "{name} after {start} bytes");
        }
        let far = [vec![7; 1 << 16], mp3.clone()].concat();
        assert!(error_of(&far).contains("it begins with"), "{name}");
    }
    let alone = [&[0][..], &file("mono.mp3")[..100]].concat();
    assert!(error_of(&alone).contains("it begins with"), "the second frame is missing");
}

#[test]
fn an_ogg_without_the_mark_of_its_end_is_read() {
    const END: u8 = 4;
    let mono = file("mono.ogg");
    let whole = read(&mono).unwrap();
    let [headers, live, _] = pages(&mono, 1 << 20, 0);
    let cut = read(&[&headers[..], &live].concat()).unwrap();
    let n = cut.samples.len();
    assert!((1000..4000).contains(&n), "{n}");
    assert_eq!(cut.samples, whole.samples[..n], "a stream that was cut between two pages");

    assert_eq!(read(&pages(&mono, n as u64, END).concat()).unwrap(), whole);
    let [headers, first, second] = pages(&mono, n as u64, 0);
    let unmarked = read(&[&headers[..], &first, &second].concat()).unwrap();
    assert_eq!(unmarked.samples[..4000], whole.samples);
    // Without the mark, the last packet keeps the samples by which it is longer than the clip.
    assert!((4000..4400).contains(&unmarked.samples.len()), "{}", unmarked.samples.len());

    let torn = error_of(&[&headers[..], &first, &second[..second.len() - 1]].concat());
    assert!(torn.contains("truncated: its last page is incomplete"), "{torn}");
    let open = page(&first, 0, 2, &[255], &[0; 255]);
    let open = error_of(&[&headers[..], &open].concat());
    assert!(open.contains("truncated: its last packet is incomplete"), "{open}");
    for page in [headers.len(), headers.len() + first.len()] {
        let mut bytes = [&headers[..], &first, &second].concat();
        bytes[page + 40] ^= 1;
        let corrupt = error_of(&bytes);
        assert!(corrupt.contains(&format!("its page at byte {page} is corrupt")), "{corrupt}");
    }
}

#[test]
fn unknown_formats_are_errors() {
    assert_eq!(error_of(b""), "not readable as audio: the file is empty");
    assert_eq!(
        error_of(b"\x89PNG\r\n\x1a\n"),
        "not readable as audio: it begins with \"\\x89PNG\\r\\n\\x1a\\n\"; expected WAV, FLAC, MP3, Ogg \
         Vorbis, M4A or AAC"
    );
    assert!(error_of(b"RIFF\0\0\0\0AVI LIST").contains("begins with \"RIFF\\x00\\x00\\x00\\x00AVI \""));
    assert!(
        error_of(b"ID3\x04\0\0\x7f\x7f\x7f\x7f").contains("the file is empty"),
        "the whole file is a tag"
    );
    let opus = error_of(&file("opus.ogg"));
    assert_eq!(opus, "not readable as Ogg Vorbis: it is encoded as Opus; only Vorbis and FLAC are supported");
}

/// A flipped bit in the codebooks, under a right checksum, makes symphonia 0.6 panic.
#[test]
fn a_file_that_makes_the_decoder_panic_is_an_error() {
    let mut damaged = file("mono.ogg");
    assert_eq!(with_checksums(&damaged), damaged);
    damaged[1177] ^= 0x80;
    let problem = error_of(&with_checksums(&damaged));
    assert!(
        problem.starts_with("not readable as Ogg Vorbis: it is corrupt: the decoder of Ogg Vorbis failed: "),
        "{problem}"
    );
}

#[test]
fn truncated_files_are_errors() {
    for name in ["mono.flac", "stereo.flac", "mono.mp3", "mono.ogg", "mono.m4a", "mono.aac", "stereo.m4a"] {
        let bytes = file(name);
        for share in [0.05, 0.3, 0.5, 0.8, 0.97] {
            let cut = &bytes[..(bytes.len() as f64 * share) as usize];
            let problem = error_of(cut);
            assert!(problem.starts_with("not readable as "), "{name} to {share}: {problem}");
        }
        let problem = error_of(&bytes[..bytes.len() * 3 / 4]);
        assert!(problem.contains("the file is truncated"), "{name}: {problem}");
    }
}
