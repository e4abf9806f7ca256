//! Reading and writing of WAV files.

use crate::Waveform;
use crate::decode::{check_channels, check_length};
use hound::{SampleFormat, WavSpec, WavWriter};
use smalti_contract::TokenizeError;
use std::io::Cursor;

/// Write a mono WAV file with integers of 8, 16, 24 or 32 `bits`.
///
/// Samples are rounded and clipped to the integer's range; an integer from [`read`](crate::read) is written unchanged.
///
/// # Errors
/// [`TokenizeError::Format`] for another number of bits, for a waveform that [`read`](crate::read) would reject, and
/// for more samples than a WAV file can hold.
pub fn write_wav(clip: &Waveform, bits: u16) -> Result<Vec<u8>, TokenizeError> {
    if !matches!(bits, 8 | 16 | 24 | 32) {
        return Err(unreadable(format!("expected 8, 16, 24 or 32 bits; found {bits}")));
    }
    clip.check().map_err(unreadable)?;
    encode(clip, bits).map_err(|e| unreadable(e.to_string()))
}

fn encode(clip: &Waveform, bits: u16) -> Result<Vec<u8>, hound::Error> {
    let spec = WavSpec {
        channels: 1,
        sample_rate: clip.sampling_rate,
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

/// The integer of an amplitude of 1.
fn full_scale(bits: u16) -> f64 {
    2.0_f64.powi(i32::from(bits) - 1)
}

/// Decode a WAV file: integers of 8, 16, 24 or 32 bits or floats of 32, plain or `WAVE_FORMAT_EXTENSIBLE`.
///
/// # Errors
/// If the encoding is another one (which the message names), data is truncated, or there are no or too many channels.
pub(crate) fn read_wav(bytes: &[u8]) -> Result<Waveform, String> {
    let (format, data) = find_chunks(bytes)?;
    let Format { codec, channels, sampling_rate, bits } = Format::read(format)?;
    let (n_channels, bytes_of_sample) = (usize::from(channels), usize::from(bits / 8));
    check_channels(n_channels)?;
    let frame = n_channels * bytes_of_sample;
    if data.len() % frame != 0 {
        return Err(format!(
            "its data has {} bytes; expected a multiple of {frame}, the bytes of a frame",
            data.len()
        ));
    }
    check_length(data.len() / frame)?;
    let level = |full_scale: f64, level: i32| (f64::from(level) / full_scale) as f32;
    let samples = match (codec, bits) {
        (IEEE_FLOAT, _) => numbers(data, f32::from_le_bytes),
        (_, 8) => numbers(data, |[byte]| level(128.0, i32::from(byte) - 128)),
        (_, 16) => numbers(data, |bytes| level(32_768.0, i16::from_le_bytes(bytes).into())),
        (_, 24) => numbers(data, |[a, b, c]| level(8_388_608.0, i32::from_le_bytes([0, a, b, c]) >> 8)),
        _ => numbers(data, |bytes| level(2_147_483_648.0, i32::from_le_bytes(bytes))),
    };
    Ok(Waveform { sampling_rate, samples: mix_down(samples, n_channels) })
}

/// Read numbers of `N` bytes each.
fn numbers<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}

/// The contents of the `fmt ` and `data` chunks.
fn find_chunks(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let mut rest = match bytes {
        [] => return Err("the file is empty".into()),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', chunks @ ..] => chunks,
        other => {
            let start = other[..other.len().min(12)].escape_ascii();
            return Err(format!("expected RIFF, a size and WAVE at the beginning; found \"{start}\""));
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
                "the file is truncated: expected {promised} bytes in its chunk \"{name}\"; found {found}"
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
    Err("the file is truncated: it has no data chunk".into())
}

const PCM: u16 = 1;
const IEEE_FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// A supported encoding.
struct Format {
    /// [`PCM`] or [`IEEE_FLOAT`].
    codec: u16,
    channels: u16,
    sampling_rate: u32,
    bits: u16,
}

impl Format {
    /// Read a `fmt ` chunk.
    ///
    /// If fewer bits are valid than a sample has, `WAVE_FORMAT_EXTENSIBLE` has them first and zeros after them, so the
    /// number of valid bits does not matter.
    fn read(chunk: &[u8]) -> Result<Self, String> {
        let too_short =
            |least| format!("its \"fmt \" chunk has {} bytes; at least {least} are needed", chunk.len());
        let [c0, c1, n0, n1, rate @ .., _, _, _, _, _, _, b0, b1] =
            chunk.first_chunk::<16>().ok_or_else(|| too_short(16))?;
        let (mut codec, bits) = (u16::from_le_bytes([*c0, *c1]), u16::from_le_bytes([*b0, *b1]));
        if codec == EXTENSIBLE {
            // The codec is in the first two bytes of the sub-format's identifier.
            let sub_format = chunk.get(24..40).ok_or_else(|| too_short(40))?;
            codec = u16::from_le_bytes([sub_format[0], sub_format[1]]);
        }
        match (codec, bits) {
            (PCM, 8 | 16 | 24 | 32) | (IEEE_FLOAT, 32) => {}
            (PCM, _) => {
                return Err(format!("it has integers of {bits} bits; 8, 16, 24 and 32 are supported"));
            }
            (IEEE_FLOAT, _) => return Err(format!("it has floats of {bits} bits; 32 are supported")),
            _ => {
                let codec = codec_name(codec);
                return Err(format!("it is encoded as {codec}; only PCM and IEEE float are supported"));
            }
        }
        let channels = u16::from_le_bytes([*n0, *n1]);
        Ok(Self { codec, channels, sampling_rate: u32::from_le_bytes(*rate), bits })
    }
}

/// The names of common codecs in the registry of `WAVE_FORMAT` tags (RFC 2361).
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

/// Mix channels to their mean; `samples` is `[n, channels]`.
fn mix_down(samples: Vec<f32>, channels: usize) -> Vec<f32> {
    if channels == 1 {
        return samples;
    }
    let mean = |frame: &[f32]| {
        let sum: f64 = frame.iter().copied().map(f64::from).sum();
        (sum / channels as f64) as f32
    };
    samples.chunks_exact(channels).map(mean).collect()
}
