//! Audio clips of telephone keys with transcripts: the two tones of each key (ITU-T Q.23) over a noisy line. Data for
//! transcription that ship.

use rand_pcg::Pcg64Mcg;
use smalti::random::{self, mix};
use std::io::{self, Cursor};

const SEED: u64 = 1963;
const TRAIN_CLIPS: usize = 500;
const VALIDATION_CLIPS: usize = 100;
/// Hz. The tones are below 1500 Hz, and the clips ship in the binary.
const SAMPLE_RATE: u32 = 4000;

/// The keys of a telephone, row by row.
const KEYS: [[char; 3]; 4] = [['1', '2', '3'], ['4', '5', '6'], ['7', '8', '9'], ['*', '0', '#']];
/// Hz: the tone of each row and of each column. A key sounds both of its tones.
const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f64; 3] = [1209.0, 1336.0, 1477.0];

/// One key press: the key, and its start and end in seconds.
struct Press {
    row: usize,
    column: usize,
    from: f64,
    to: f64,
}

/// Synthesizes every clip and packs the clips with `manifest.tsv` (`path`, `text`, `split`).
pub fn tar() -> io::Result<Vec<u8>> {
    let mut manifest = String::from("path\ttext\tsplit\n");
    let mut clips = Vec::with_capacity(TRAIN_CLIPS + VALIDATION_CLIPS);
    for number in 0..TRAIN_CLIPS + VALIDATION_CLIPS {
        let path = format!("clips/{number:03}.wav");
        let split = if number < TRAIN_CLIPS { "train" } else { "valid" };
        let generator = &mut random::generator(mix(SEED, number as u64));
        let (presses, seconds) = dial(generator);
        let text: String = presses.iter().map(|press| KEYS[press.row][press.column]).collect();
        manifest += &format!("{path}\t{text}\t{split}\n");
        clips.push((path, wav(&sound(&presses, seconds, generator))?));
    }
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "manifest.tsv", manifest.as_bytes())?;
    for (path, wav) in &clips {
        append(&mut archive, path, wav)?;
    }
    archive.into_inner()
}

/// Three to eight fast key presses, and the length of the clip in seconds. Q.24 requires receivers to detect tones of 40 ms
/// with pauses of 40 ms.
fn dial(generator: &mut Pcg64Mcg) -> (Vec<Press>, f64) {
    let mut now = between(generator, 0.02, 0.1);
    let mut presses = Vec::new();
    for _ in 0..3 + random::below(generator, 6) {
        let (row, column) = (random::below(generator, ROWS.len()), random::below(generator, COLUMNS.len()));
        let to = now + between(generator, 0.06, 0.14);
        presses.push(Press { row, column, from: now, to });
        now = to + between(generator, 0.05, 0.12);
    }
    (presses, now)
}

/// The samples of a clip, in -1..=1: for each key two tones of different strength, each a little out of tune, in white noise.
fn sound(presses: &[Press], seconds: f64, generator: &mut Pcg64Mcg) -> Vec<f64> {
    let rate = f64::from(SAMPLE_RATE);
    let tau = std::f64::consts::TAU;
    let amplitude = between(generator, 0.15, 0.4);
    let twist = between(generator, -4.0, 4.0); // dB of the high tone over the low one, as Q.24 allows
    let tuning = [between(generator, 0.985, 1.015), between(generator, 0.985, 1.015)];
    let noise_level = between(generator, 0.01, 0.15);

    let n = (seconds * rate) as usize;
    let noise = random::normal(generator, n);
    let mut samples: Vec<f64> = noise.iter().map(|&x| noise_level * f64::from(x)).collect();
    for press in presses {
        let (low, high) = (ROWS[press.row] * tuning[0], COLUMNS[press.column] * tuning[1]);
        let (from, to) = ((press.from * rate) as usize, (press.to * rate) as usize);
        for (i, sample) in samples.iter_mut().enumerate().take(to).skip(from) {
            let now = i as f64 / rate;
            let tones = libm::sin(tau * low * now) + libm::exp10(twist / 20.0) * libm::sin(tau * high * now);
            *sample += amplitude * ramp(i - from, to - i) * tones;
        }
    }
    samples
}

/// The envelope of a tone, which rises and falls in 5 ms.
fn ramp(since_start: usize, until_end: usize) -> f64 {
    let length = 0.005 * f64::from(SAMPLE_RATE);
    (since_start.min(until_end) as f64 / length).min(1.0)
}

fn between(generator: &mut Pcg64Mcg, low: f64, high: f64) -> f64 {
    low + (high - low) * random::uniform(generator)
}

/// 8-bit mono WAV.
fn wav(samples: &[f64]) -> io::Result<Vec<u8>> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 8,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(io::Error::other)?;
    for sample in samples {
        let level = (127.0 * sample.clamp(-1.0, 1.0)).round() as i8;
        writer.write_sample(level).map_err(io::Error::other)?;
    }
    writer.finalize().map_err(io::Error::other)?;
    Ok(bytes.into_inner())
}

/// Adds a file whose header does not depend on the machine: no date, no owner.
fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    archive.append(&header, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn files() -> BTreeMap<String, Vec<u8>> {
        let bytes = tar().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), content)
        });
        entries.collect()
    }

    #[test]
    fn every_clip_of_the_manifest_is_an_8_bit_wav() {
        let files = files();
        let manifest = std::str::from_utf8(&files["manifest.tsv"]).unwrap();
        let mut keys = BTreeMap::<char, usize>::new();
        for line in manifest.lines().skip(1) {
            let [path, text, split] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let wav = hound::WavReader::new(files[path].as_slice()).unwrap();
            let spec = wav.spec();
            assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, SAMPLE_RATE, 8));
            assert!((1300..9000).contains(&wav.duration()), "{path}: {} samples", wav.duration());
            assert!((3..=8).contains(&text.len()), "{text}");
            if split == "train" {
                text.chars().for_each(|key| *keys.entry(key).or_default() += 1);
            }
        }
        assert_eq!(manifest.lines().count(), 1 + TRAIN_CLIPS + VALIDATION_CLIPS);
        assert_eq!(files.len(), 1 + TRAIN_CLIPS + VALIDATION_CLIPS);
        assert_eq!(keys.len(), 12);
        assert!(keys.values().all(|&times| times >= 150), "{keys:?}");
    }

    /// The row and the column whose tones have the most power are those of the key.
    #[test]
    fn the_tones_are_those_of_the_keys() {
        let power = |samples: &[f64], pitch: f64| {
            let omega = std::f64::consts::TAU * pitch / f64::from(SAMPLE_RATE);
            let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, x)| {
                (re + x * (omega * i as f64).cos(), im + x * (omega * i as f64).sin())
            });
            re * re + im * im
        };
        // Including nearby frequencies, as tones are out of tune.
        let strength = |samples: &[f64], pitch: f64| {
            (-3..=3).map(|p| power(samples, pitch * (1.0 + 0.005 * f64::from(p)))).fold(0.0, f64::max)
        };
        let strongest = |samples: &[f64], pitches: &[f64]| {
            let better = |&a: &usize, &b: &usize| {
                strength(samples, pitches[a]).total_cmp(&strength(samples, pitches[b]))
            };
            (0..pitches.len()).max_by(better).unwrap()
        };
        let (mut correct, mut total) = (0, 0);
        for seed in 0..40 {
            let generator = &mut random::generator(seed);
            let (presses, seconds) = dial(generator);
            let samples = sound(&presses, seconds, generator);
            for press in &presses {
                let at = |seconds: f64| (seconds * f64::from(SAMPLE_RATE)) as usize;
                let tone = &samples[at(press.from)..at(press.to)];
                correct += usize::from(
                    strongest(tone, &ROWS) == press.row && strongest(tone, &COLUMNS) == press.column,
                );
                total += 1;
            }
        }
        assert!(correct * 100 >= total * 97, "{correct} of {total}");
    }
}
