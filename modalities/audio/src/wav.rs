//! Reading and writing of WAV files.

use crate::Waveform;
use crate::decode::{check_channels, check_length, fits};
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

/// Decode a file that begins with `RIFF` or `RF64`, a size and `WAVE`: integers of 8, 16, 24 or 32 bits, floats of 32 or
/// 64, A-law or µ-law, plain or `WAVE_FORMAT_EXTENSIBLE`.
///
/// # Errors
/// If the encoding is another one (which the message names), data is truncated, or there are no or too many channels.
pub(crate) fn read_wav(bytes: &[u8]) -> Result<Waveform, String> {
    let Chunks { format, mut data, is_stream } = find_chunks(bytes)?;
    let Format { codec, channels, sampling_rate, bits } = Format::read(format)?;
    let (n_channels, bytes_of_sample) = (usize::from(channels), usize::from(bits / 8));
    check_channels(n_channels)?;
    let frame = n_channels * bytes_of_sample;
    if is_stream {
        data = &data[..data.len() - data.len() % frame]; // it may have been cut within a frame
    } else if data.len() % frame != 0 {
        return Err(format!(
            "its data has {} bytes; expected a multiple of {frame}, the bytes of a frame",
            data.len()
        ));
    }
    check_length(data.len() / frame)?;
    fits(data.len() / bytes_of_sample)
        .map_err(|e| format!("it has {} samples: {e}", data.len() / bytes_of_sample))?;
    let level = |full_scale: f64, level: i32| (f64::from(level) / full_scale) as f32;
    let samples = match (codec, bits) {
        (IEEE_FLOAT, 32) => numbers(data, f32::from_le_bytes),
        (IEEE_FLOAT, _) => numbers(data, |bytes| f64::from_le_bytes(bytes) as f32),
        (A_LAW, _) => numbers(data, |[byte]| level(32_768.0, a_law(byte))),
        (MU_LAW, _) => numbers(data, |[byte]| level(32_768.0, mu_law(byte))),
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

/// The level of 16 bits that a byte of A-law stands for (ITU-T G.711).
fn a_law(byte: u8) -> i32 {
    let byte = byte ^ 0x55; // every other bit is stored inverted
    let (segment, step) = (byte >> 4 & 7, i32::from(byte & 15));
    let magnitude = match segment {
        0 => 16 * step + 8,
        _ => (16 * step + 264) << (segment - 1),
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

/// The level of 16 bits that a byte of µ-law stands for (ITU-T G.711).
fn mu_law(byte: u8) -> i32 {
    let byte = !byte; // stored inverted
    let (segment, step) = (byte >> 4 & 7, i32::from(byte & 15));
    let magnitude = ((8 * step + 132) << segment) - 132;
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The chunks of a file that hold its sound.
struct Chunks<'a> {
    format: &'a [u8],
    data: &'a [u8],
    /// Whether the size of the data was unknown when the header was written; they go up to the end of the file.
    is_stream: bool,
}

fn find_chunks(bytes: &[u8]) -> Result<Chunks<'_>, String> {
    let no_data = "the file is truncated: it has no data chunk";
    let ([_, _, _, _, s0, s1, s2, s3, ..], mut rest) = bytes.split_first_chunk::<12>().ok_or(no_data)?;
    let is_whole = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize + 8 == bytes.len();
    let (mut format, mut long_size) = (None, None);
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [name @ .., s0, s1, s2, s3] = header;
        let promised = match (name, u32::from_le_bytes([*s0, *s1, *s2, *s3])) {
            (b"data", u32::MAX) => long_size.unwrap_or(u32::MAX.into()),
            (_, size) => u64::from(size),
        };
        let chunk = usize::try_from(promised).ok().and_then(|size| after.get(..size));
        match (name, format) {
            (b"data", None) => return Err("its data comes before any \"fmt \" chunk".into()),
            (b"data", Some(format)) => match chunk {
                // Writers to a pipe cannot return to the header. A size of 0 is that of a clip without samples if the
                // other size in the header is right.
                None if is_placeholder(promised) => {
                    return Ok(Chunks { format, data: after, is_stream: true });
                }
                Some([]) if !is_whole => return Ok(Chunks { format, data: after, is_stream: true }),
                Some(data) => return Ok(Chunks { format, data, is_stream: false }),
                None => {}
            },
            (b"fmt ", _) => format = chunk,
            // RF64 (EBU Tech 3306): the size of the file and that of the data in 64 bits.
            (b"ds64", _) => {
                long_size =
                    chunk.and_then(|sizes| sizes.get(8..)?.first_chunk()).map(|it| u64::from_le_bytes(*it))
            }
            _ => {}
        }
        let Some(chunk) = chunk else {
            let (name, found) = (name.escape_ascii(), after.len());
            return Err(format!(
                "the file is truncated: expected {promised} bytes in its chunk \"{name}\"; found {found}"
            ));
        };
        // A chunk of odd size is followed by a byte of padding.
        rest = after.get(chunk.len() + chunk.len() % 2..).unwrap_or_default();
    }
    Err(no_data.into())
}

/// Whether this is a size that programs write if they do not know it: the largest of 31 or 32 bits, or as much less as a
/// header and a whole number of frames make it.
fn is_placeholder(size: u64) -> bool {
    [1_u64 << 31, 1 << 32].into_iter().any(|limit| (limit - 0x1_0000..=limit).contains(&size))
}

const PCM: u16 = 1;
const IEEE_FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// A supported encoding.
struct Format {
    /// [`PCM`], [`IEEE_FLOAT`], [`A_LAW`] or [`MU_LAW`].
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
            (PCM, 8 | 16 | 24 | 32) | (IEEE_FLOAT, 32 | 64) | (A_LAW | MU_LAW, 8) => {}
            (PCM, _) => {
                return Err(format!("it has integers of {bits} bits; 8, 16, 24 and 32 are supported"));
            }
            (IEEE_FLOAT, _) => {
                return Err(format!("it has floats of {bits} bits; 32 and 64 are supported"));
            }
            (A_LAW | MU_LAW, _) => {
                return Err(format!("it has {} of {bits} bits; 8 are supported", codec_name(codec)));
            }
            _ => {
                let codec = codec_name(codec);
                return Err(format!(
                    "it is encoded as {codec}; only PCM, IEEE float, A-law and mu-law are supported"
                ));
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
        A_LAW => "A-law",
        MU_LAW => "mu-law",
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
