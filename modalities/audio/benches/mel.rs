//! Time to encode a 30 s clip at 16 kHz, to decode its file, and to resample, on one thread: `cargo bench -p
//! smalti-audio`. `benches/peer_mel.py` measures other implementations.

use smalti_audio::{AudioConfig, AudioTokenizer, Waveform, read, write_wav};
use smalti_contract::Tokenizer;
use std::time::{Duration, Instant};

fn main() {
    // Noise of a linear congruential generator (Knuth's), so that no frame is silent.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.2 * ((state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5)
    };
    let clip = Waveform { sampling_rate: 16_000, samples: (0..480_000).map(|_| noise()).collect() };
    for (name, config) in [
        ("whisper, 80 bands", AudioConfig::whisper(80)),
        ("whisper, 128 bands", AudioConfig::whisper(128)),
        ("ast, all of the clip", AudioConfig { clip_frames: None, max_slices: 3000, ..AudioConfig::ast() }),
    ] {
        let tokenizer = AudioTokenizer::new(config).expect("settings that work");
        time(name, || tokenizer.encode(&clip).expect("sound").len());
    }
    let file = write_wav(&clip, 16).expect("sound");
    time("WAV of 16 bits, decoded", || read(&file).expect("a WAV file").samples.len());
    time("44.1 kHz to 16 kHz", || {
        let resampled = Waveform { sampling_rate: 44_100, ..clip.clone() }.resample(16_000);
        resampled.expect("sound").samples.len()
    });
}

fn time(name: &str, work: impl Fn() -> usize) {
    let (begun, mut times) = (Instant::now(), vec![]);
    while begun.elapsed() < Duration::from_secs(3) {
        let started = Instant::now();
        assert!(std::hint::black_box(work()) > 0);
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("{name}: {:.2} ms, at best {:.2}", times[times.len() / 2], times[0]);
}
