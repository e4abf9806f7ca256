//! Clips of Morse code with their texts: two to four letters and digits, keyed by an unsteady hand and heard
//! over a noisy, fading line. The transcription task that ships.

use crate::random::{self, mix};
use rand_pcg::Pcg64Mcg;
use std::io::{self, Cursor};

/// The file's name in `data/`.
pub(super) const FILE_NAME: &str = "morse.tar";

const SEED: u64 = 1844;
const TRAIN_CLIPS: usize = 560;
const VALID_CLIPS: usize = 100;
/// Hz. Low, as the tone is below 900 Hz and the clips ship with the binary.
const SAMPLE_RATE: u32 = 2000;

/// International Morse code (ITU-R M.1677-1), letters and digits.
#[rustfmt::skip]
const CODE: [(char, &str); 36] = [
    ('A', ".-"), ('B', "-..."), ('C', "-.-."), ('D', "-.."), ('E', "."), ('F', "..-."), ('G', "--."),
    ('H', "...."), ('I', ".."), ('J', ".---"), ('K', "-.-"), ('L', ".-.."), ('M', "--"), ('N', "-."),
    ('O', "---"), ('P', ".--."), ('Q', "--.-"), ('R', ".-."), ('S', "..."), ('T', "-"), ('U', "..-"),
    ('V', "...-"), ('W', ".--"), ('X', "-..-"), ('Y', "-.--"), ('Z', "--.."),
    ('0', "-----"), ('1', ".----"), ('2', "..---"), ('3', "...--"), ('4', "....-"), ('5', "....."),
    ('6', "-...."), ('7', "--..."), ('8', "---.."), ('9', "----."),
];

/// One key press: when it begins and ends, in seconds.
struct Press {
    from: f64,
    to: f64,
}

/// Makes every clip and packs it with `manifest.tsv` (`path`, `text`, `split`).
pub(super) fn tar() -> io::Result<Vec<u8>> {
    let mut manifest = String::from("path\ttext\tsplit\n");
    let mut clips = Vec::with_capacity(TRAIN_CLIPS + VALID_CLIPS);
    for number in 0..TRAIN_CLIPS + VALID_CLIPS {
        let path = format!("clips/{number:03}.wav");
        let split = if number < TRAIN_CLIPS { "train" } else { "valid" };
        let (text, samples) = clip(number as u64);
        manifest += &format!("{path}\t{text}\t{split}\n");
        clips.push((path, wav(&samples)?));
    }
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "manifest.tsv", manifest.as_bytes())?;
    for (path, wav) in &clips {
        append(&mut archive, path, wav)?;
    }
    archive.into_inner()
}

/// The text and the samples, in -1..=1, of the clip with this number.
fn clip(number: u64) -> (String, Vec<f64>) {
    let generator = &mut random::generator(mix(SEED, number));
    let length = [2, 2, 3, 3, 4][random::below(generator, 5)]; // mostly short: the set stays small
    let symbols: Vec<(char, &str)> =
        (0..length).map(|_| CODE[random::below(generator, CODE.len())]).collect();
    let (presses, seconds) = key(&symbols, generator);
    let samples = sound(&presses, seconds, generator);
    (symbols.iter().map(|(letter, _)| letter).collect(), samples)
}

/// When the key is down, and how long the clip is. A dash is three dots long; so is the pause between letters,
/// and within a letter it is one. At `wpm` words a minute, a word being "PARIS ", a dot takes 1.2 / `wpm`
/// seconds.
fn key(symbols: &[(char, &str)], generator: &mut Pcg64Mcg) -> (Vec<Press>, f64) {
    let wpm = between(generator, 18.0, 30.0);
    let unit = 1.2 / wpm;
    let mut presses = Vec::new();
    let mut now = between(generator, 0.05, 0.1);
    for (place, (_, code)) in symbols.iter().enumerate() {
        if place > 0 {
            now += 2.0 * unit * unsteady(generator); // beside the one after each press
        }
        for mark in code.chars() {
            let length = if mark == '-' { 3.0 } else { 1.0 };
            let to = now + length * unit * unsteady(generator);
            presses.push(Press { from: now, to });
            now = to + unit * unsteady(generator);
        }
    }
    (presses, now + between(generator, 0.0, 0.05))
}

/// What a hand makes of a length of 1.
fn unsteady(generator: &mut Pcg64Mcg) -> f64 {
    between(generator, 0.85, 1.15)
}

/// The key as it is heard: a tone of one pitch that fades slowly in and out, in white noise.
fn sound(presses: &[Press], seconds: f64, generator: &mut Pcg64Mcg) -> Vec<f64> {
    let rate = f64::from(SAMPLE_RATE);
    let turn = std::f64::consts::TAU;
    let pitch = between(generator, 400.0, 900.0);
    let loudness = between(generator, 0.4, 0.8);
    let fading = between(generator, 0.0, 0.6);
    let (fading_rate, fading_phase) = (between(generator, 0.2, 1.0), random::uniform(generator));
    let noise_level = between(generator, 0.01, 0.12);

    let n = (seconds * rate) as usize;
    let noise = random::normal(generator, n);
    let mut samples: Vec<f64> = noise.iter().map(|&x| noise_level * f64::from(x)).collect();
    for press in presses {
        let (from, to) = ((press.from * rate) as usize, (press.to * rate) as usize);
        for (i, sample) in samples.iter_mut().enumerate().take(to).skip(from) {
            let now = i as f64 / rate;
            let dip = 0.5 + 0.5 * libm::sin(turn * (fading_rate * now + fading_phase));
            let level = loudness * (1.0 - fading * dip) * ramp(i - from, to - i);
            *sample += level * libm::sin(turn * pitch * now);
        }
    }
    samples
}

/// A key that closes at once clicks: the tone takes 5 ms to rise and to fall.
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

/// Adds a file whose header holds nothing of the machine: no date, no owner.
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
    use std::collections::{BTreeMap, BTreeSet};
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
    fn codes_are_distinct() {
        let codes: BTreeSet<&str> = CODE.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes.len(), CODE.len());
    }

    #[test]
    fn every_clip_of_the_manifest_is_an_8_bit_wav() {
        let files = files();
        let manifest = std::str::from_utf8(&files["manifest.tsv"]).unwrap();
        let mut symbols = BTreeMap::<char, usize>::new();
        for line in manifest.lines().skip(1) {
            let [path, text, split] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let wav = hound::WavReader::new(files[path].as_slice()).unwrap();
            let spec = wav.spec();
            assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, SAMPLE_RATE, 8));
            assert!((600..10_000).contains(&wav.duration()), "{path}: {} samples", wav.duration());
            assert!((2..=4).contains(&text.len()), "{text}");
            if split == "train" {
                text.chars().for_each(|symbol| *symbols.entry(symbol).or_default() += 1);
            }
        }
        assert_eq!(manifest.lines().count(), 1 + TRAIN_CLIPS + VALID_CLIPS);
        assert_eq!(files.len(), 1 + TRAIN_CLIPS + VALID_CLIPS);
        assert_eq!(symbols.len(), CODE.len());
        assert!(symbols.values().all(|&times| times >= 30), "{symbols:?}");
    }

    /// The text can be told from the key: a mark of more than two units is a dash, a pause of more than two
    /// the end of a letter.
    #[test]
    fn an_unsteady_hand_is_still_legible() {
        for seed in 0..200 {
            let generator = &mut random::generator(seed);
            let symbols: Vec<_> = (0..4).map(|_| CODE[random::below(generator, CODE.len())]).collect();
            let wpm = between(&mut generator.clone(), 18.0, 30.0);
            let (presses, _) = key(&symbols, generator);

            let long = |seconds: f64| seconds > 2.0 * 1.2 / wpm;
            let mut heard = String::new();
            for (i, press) in presses.iter().enumerate() {
                if i > 0 && long(press.from - presses[i - 1].to) {
                    heard.push(' ');
                }
                heard.push(if long(press.to - press.from) { '-' } else { '.' });
            }
            let sent: Vec<&str> = symbols.iter().map(|(_, code)| *code).collect();
            assert_eq!(heard, sent.join(" "));
        }
    }

    #[test]
    fn the_tone_stands_out_of_the_noise() {
        let loudness = |samples: &[f64]| samples.iter().map(|x| x * x).sum::<f64>() / samples.len() as f64;
        for seed in 0..100 {
            let presses = [Press { from: 0.5, to: 1.0 }];
            let samples = sound(&presses, 1.5, &mut random::generator(seed));
            let [before, tone, after] = [0, 1000, 2000].map(|start| loudness(&samples[start..start + 1000]));
            assert!(tone > 1.5 * before && tone > 1.5 * after, "seed {seed}: {before} {tone} {after}");
        }
    }
}
