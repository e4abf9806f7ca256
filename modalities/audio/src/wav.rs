//! WAV files.

use crate::Waveform;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use smalti_contract::TokenizeError;
use std::io::{Cursor, Read};

/// Decodes a WAV file: integers of 8, 16, 24 or 32 bits or floats of 32, plain or `WAVE_FORMAT_EXTENSIBLE`.
///
/// Integers are divided by 2^(bits-1), into -1..1. Several channels are mixed down to their mean.
///
/// # Errors
/// [`TokenizeError::Format`] for bytes that are not a WAV file, an encoding other than these (by its name),
/// data that ends early, a file without samples, a rate outside of [`SAMPLE_RATES`](crate::SAMPLE_RATES)
/// and a sample that is not finite.
pub fn read_wav(bytes: &[u8]) -> Result<Waveform, TokenizeError> {
    decode(bytes).map_err(unreadable)
}

/// The bytes of a mono WAV file of integers of 8, 16, 24 or 32 `bits`.
///
/// Samples are rounded, and clipped to what the integer holds: an integer that [`read_wav`] read comes back
/// unchanged.
///
/// # Errors
/// [`TokenizeError::Format`] for another number of bits, for a waveform that [`read_wav`] would refuse, and
/// for more samples than a WAV file holds.
pub fn write_wav(clip: &Waveform, bits: u16) -> Result<Vec<u8>, TokenizeError> {
    if !matches!(bits, 8 | 16 | 24 | 32) {
        return Err(unreadable(format!("{bits} bits were asked for; 8, 16, 24 and 32 can be written")));
    }
    clip.check().map_err(unreadable)?;
    encode(clip, bits).map_err(|e| unreadable(e.to_string()))
}

fn encode(clip: &Waveform, bits: u16) -> Result<Vec<u8>, hound::Error> {
    let spec = WavSpec {
        channels: 1,
        sample_rate: clip.sample_rate,
        bits_per_sample: bits,
        sample_format: SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec)?;
    let full_scale = full_scale(bits);
    for &sample in &clip.samples {
        let level = (f64::from(sample) * full_scale).round();
        writer.write_sample(level.clamp(-full_scale, full_scale - 1.0) as i32)?;
    }
    writer.finalize()?;
    Ok(file.into_inner())
}

fn unreadable(problem: String) -> TokenizeError {
    TokenizeError::Format { format: "WAV", problem }
}

/// The integer that stands for an amplitude of 1.
fn full_scale(bits: u16) -> f64 {
    2.0_f64.powi(i32::from(bits) - 1)
}

fn decode(bytes: &[u8]) -> Result<Waveform, String> {
    let (format, data) = find_chunks(bytes)?;
    let format = plain_format(format)?;
    // hound decodes the samples, of a header rebuilt from what was checked: it alone would take sizes on
    // trust, stumble over the padding of odd chunks and not say which codec it lacks.
    let size = data.len() as u32;
    let header =
        [b"RIFF", &[0; 4][..], b"WAVEfmt ", &16u32.to_le_bytes(), &format, b"data", &size.to_le_bytes()]
            .concat();
    let reader = WavReader::new(header.chain(data)).map_err(|e| e.to_string())?;
    let spec = reader.spec();
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect(),
        SampleFormat::Int => {
            let full_scale = full_scale(spec.bits_per_sample);
            let amplitude = |level: i32| (f64::from(level) / full_scale) as f32;
            reader.into_samples::<i32>().map(|level| level.map(amplitude)).collect()
        }
    };
    let samples = mix_down(samples.map_err(|e| e.to_string())?, spec.channels);
    let clip = Waveform { sample_rate: spec.sample_rate, samples };
    clip.check()?;
    Ok(clip)
}

/// The contents of the `fmt ` and `data` chunks.
fn find_chunks(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let mut rest = match bytes {
        [] => return Err("the file is empty".into()),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', chunks @ ..] => chunks,
        other => {
            let start = other[..other.len().min(12)].escape_ascii();
            return Err(format!("a WAV file begins with RIFF, its size and WAVE; this one with \"{start}\""));
        }
    };
    let mut format = None;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [name @ .., s0, s1, s2, s3] = header;
        let promised = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
        let Some(chunk) = after.get(..promised) else {
            let name = name.escape_ascii();
            let found = after.len();
            return Err(format!(
                "the file is cut short: {found} of the {promised} bytes of its chunk \"{name}\" are there"
            ));
        };
        match (name, format) {
            (b"fmt ", _) => format = Some(chunk),
            (b"data", Some(format)) => return Ok((format, chunk)),
            (b"data", None) => return Err("its data comes before any \"fmt \" chunk".into()),
            _ => {}
        }
        // A chunk of odd size is followed by a byte of padding.
        rest = after.get(promised + promised % 2..).unwrap_or_default();
    }
    Err("the file is cut short: it has no data chunk".into())
}

const PCM: u16 = 1;
const IEEE_FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// The format as the 16 bytes of a `PCMWAVEFORMAT`, of an encoding that we read.
///
/// Where fewer bits are valid than a sample takes, `WAVE_FORMAT_EXTENSIBLE` has them in front and zeros
/// behind, so the valid bits need not be known.
fn plain_format(format: &[u8]) -> Result<[u8; 16], String> {
    let too_short =
        |least| format!("its \"fmt \" chunk has {} bytes; at least {least} are needed", format.len());
    let mut plain = *format.first_chunk::<16>().ok_or_else(|| too_short(16))?;
    let mut codec = u16::from_le_bytes([plain[0], plain[1]]);
    if codec == EXTENSIBLE {
        // The codec stands in the first two bytes of the sub-format's identifier.
        let sub_format = format.get(24..40).ok_or_else(|| too_short(40))?;
        codec = u16::from_le_bytes([sub_format[0], sub_format[1]]);
        plain[..2].copy_from_slice(&sub_format[..2]);
    }
    let bits = u16::from_le_bytes([plain[14], plain[15]]);
    match (codec, bits) {
        (PCM, 8 | 16 | 24 | 32) | (IEEE_FLOAT, 32) => Ok(plain),
        (PCM, _) => Err(format!("it has integers of {bits} bits; 8, 16, 24 and 32 are supported")),
        (IEEE_FLOAT, _) => Err(format!("it has floats of {bits} bits; 32 are supported")),
        _ => Err(format!("it is encoded as {}; only PCM and IEEE float are supported", codec_name(codec))),
    }
}

/// What the registry of `WAVE_FORMAT` tags (RFC 2361) calls the codecs that one meets.
fn codec_name(codec: u16) -> String {
    let name = match codec {
        0x02 => "Microsoft ADPCM",
        0x06 => "A-law",
        0x07 => "mu-law",
        0x11 => "IMA ADPCM",
        0x31 => "GSM 6.10",
        0x45 => "G.726 ADPCM",
        0x50 => "MPEG",
        0x55 => "MP3",
        0xff => "AAC",
        _ => return format!("codec {codec:#06x}"),
    };
    name.into()
}

/// The mean of all channels; `samples` is `[n, channels]`.
fn mix_down(samples: Vec<f32>, channels: u16) -> Vec<f32> {
    if channels == 1 {
        return samples;
    }
    let mean = |frame: &[f32]| {
        let sum: f64 = frame.iter().copied().map(f64::from).sum();
        (sum / f64::from(channels)) as f32
    };
    samples.chunks_exact(usize::from(channels)).map(mean).collect()
}
