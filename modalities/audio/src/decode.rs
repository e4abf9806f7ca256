//! Decoding of audio files, whose format is detected from their content.

use crate::waveform::wrong_rate;
use crate::{SAMPLING_RATES, Waveform, container, wav};
use smalti_contract::{TokenizeError, Value, caught, memory};
use std::io::{Cursor, ErrorKind};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MpaReader, OggReader};

/// The maximal length of a file that [`read`] decodes, in samples of one channel: 4.6 hours at 16 kHz, 1 GiB.
///
/// A small file can contain that much silence; more is an error.
pub const MAX_SAMPLES: usize = 1 << 28;

/// The maximal number of channels; a header with more is corrupt.
const MAX_CHANNELS: usize = 64;

/// A file format, detected by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Wav,
    Flac,
    Ogg,
    Mp3,
    Mp4,
    Adts,
}

impl Format {
    const NAMES: &str = "WAV, FLAC, MP3, Ogg Vorbis, M4A or AAC";

    fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
            | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Self::Wav,
            [b'f', b'L', b'a', b'C', ..] => Self::Flac,
            [b'O', b'g', b'g', b'S', ..] => Self::Ogg,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::Mp4,
            // Twelve bits of sync, then version and layer; an AAC frame has layer 0, which MPEG does not use.
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Self::Adts,
            [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 == 0x02 => Self::Mp3,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wav => "WAV",
            Self::Flac => "FLAC",
            Self::Ogg => "Ogg Vorbis",
            Self::Mp3 => "MP3",
            Self::Mp4 => "M4A",
            Self::Adts => "AAC",
        }
    }
}

/// Read the clip of a field's value: an encoded file in any format that [`read`] supports.
///
/// # Errors
/// [`TokenizeError::Input`] for a value of another type; as of [`read`] for a file that cannot be decoded.
pub(crate) fn read_value(value: Value) -> Result<Waveform, TokenizeError> {
    match value {
        Value::File(file) => read(&file.bytes),
        Value::Text(_) => Err(TokenizeError::Input(
            "expected an audio clip: a file; found text; a column of paths of files is named path, file_name or \
             NAME.path, such as audio.path"
                .into(),
        )),
        other => Err(other.unexpected("an audio clip: a file")),
    }
}

/// Decode an audio file: WAV (integers of 8, 16, 24 or 32 bits, floats of 32 or 64, A-law or µ-law), FLAC, MP3, Ogg
/// Vorbis, M4A or AAC (low complexity). The format is detected from the content; up to 64 KiB of junk before an MP3 are
/// skipped.
///
/// Integers are divided by 2^(bits-1), into -1..1. Several channels are mixed down to their mean. Padding that an
/// encoder added before and after the sound is removed if the file states its length: LAME's header, Ogg's granules,
/// the edit list of an M4A. Tags and images are skipped. A WAV or Ogg file that was written as a stream, and so does not
/// state its length or mark its end, is read up to its end.
///
/// # Errors
/// [`TokenizeError::Format`] for another format, an unsupported encoding (which the message names), corrupt or
/// truncated data if the format can detect it, no samples, more than [`MAX_SAMPLES`] or than fit into
/// [`memory::unpack_limit`], more than 64 channels, a rate
/// outside of [`SAMPLING_RATES`], and a sample that is not finite.
pub fn read(bytes: &[u8]) -> Result<Waveform, TokenizeError> {
    let sound = container::without_tags(bytes);
    let detected = Format::of(sound).map(|format| (format, sound));
    let after_junk = || container::mp3_after_junk(sound).map(|mp3| (Format::Mp3, mp3));
    let Some((format, sound)) = detected.or_else(after_junk) else {
        let problem = match sound {
            [] => "the file is empty".into(),
            _ => format!(
                "it begins with \"{}\"; expected {}",
                sound[..sound.len().min(12)].escape_ascii(),
                Format::NAMES
            ),
        };
        return Err(TokenizeError::Format { format: "audio", problem });
    };
    let decoded = match format {
        Format::Wav => wav::read_wav(sound),
        // Damaged Ogg files made symphonia 0.6 panic: its decoder of Vorbis indexes by values of the file.
        _ => caught(|| decode(format, sound)).unwrap_or_else(|panic| Err(failed(format, &panic))),
    };
    let checked = decoded.and_then(|clip| clip.check().map(|()| clip));
    checked.map_err(|problem| TokenizeError::Format { format: format.name(), problem })
}

/// The problem of a file whose decoder panicked.
fn failed(format: Format, panic: &str) -> String {
    format!("it is corrupt: the decoder of {} failed: {panic}", format.name())
}

fn decode(format: Format, bytes: &[u8]) -> Result<Waveform, String> {
    let marks_its_end = match format {
        Format::Ogg => container::check_ogg(bytes)?,
        Format::Mp4 => container::check_mp4(bytes).map(|()| true)?,
        _ => true,
    };
    let mut reader = open(format, bytes).map_err(explain)?;
    let track = reader.default_track(TrackType::Audio).ok_or("it has no audio track")?;
    let (id, promised) = (track.id, track.num_frames);
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or("it does not state the encoding of its sound")?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(explain)?;
    let mut clip = Waveform { sampling_rate: 0, samples: vec![] };
    let mut channels = vec![];
    let mut next_packet = || match reader.next_packet() {
        Err(Error::IoError(e)) if !marks_its_end && e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        packet => packet.map_err(explain),
    };
    while let Some(packet) = next_packet()? {
        if packet.track_id == id {
            append(&mut clip, decoder.as_mut(), &packet, &mut channels)?;
        }
    }
    if format == Format::Mp4 {
        container::edit_mp4(bytes, id, &mut clip);
    } else if let Some(promised) = promised.filter(|promised| *promised > clip.samples.len() as u64) {
        return Err(format!(
            "the file is truncated: expected {promised} samples; found {}",
            clip.samples.len()
        ));
    }
    Ok(clip)
}

fn open(format: Format, bytes: &[u8]) -> Result<Box<dyn FormatReader + '_>, Error> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let options = FormatOptions::default();
    Ok(match format {
        Format::Flac => Box::new(FlacReader::try_new(source, options)?),
        Format::Ogg => Box::new(OggReader::try_new(source, options)?),
        Format::Mp3 => Box::new(MpaReader::try_new(source, options)?),
        Format::Mp4 => Box::new(IsoMp4Reader::try_new(source, options)?),
        Format::Adts => Box::new(AdtsReader::try_new(source, options)?),
        Format::Wav => unreachable!("WAV files are not read through symphonia"),
    })
}

/// Decode a packet and mix its channels down.
fn append(
    clip: &mut Waveform,
    decoder: &mut dyn AudioDecoder,
    packet: &symphonia::core::packet::Packet,
    channels: &mut Vec<Vec<f32>>,
) -> Result<(), String> {
    let decoded = decoder.decode(packet).map_err(explain)?;
    if decoded.frames() == 0 {
        return Ok(()); // the whole packet was encoder delay
    }
    let rate = decoded.spec().rate();
    if !SAMPLING_RATES.contains(&rate) {
        return Err(wrong_rate(rate));
    }
    if clip.samples.is_empty() {
        clip.sampling_rate = rate;
    } else if rate != clip.sampling_rate {
        return Err(format!("the sampling rate changes from {} to {rate} Hz within it", clip.sampling_rate));
    }
    check_channels(decoded.num_planes())?;
    check_length(clip.samples.len() + decoded.frames())?;
    decoded.copy_to_vecs_planar(channels);
    match &channels[..] {
        [only] => clip.samples.extend_from_slice(only),
        several => {
            let mean = |t: usize| {
                let sum: f64 = several.iter().map(|channel| f64::from(channel[t])).sum();
                (sum / several.len() as f64) as f32
            };
            clip.samples.extend((0..decoded.frames()).map(mean));
        }
    }
    Ok(())
}

/// Check the number of channels.
pub(crate) fn check_channels(channels: usize) -> Result<(), String> {
    match channels {
        1..=MAX_CHANNELS => Ok(()),
        _ => Err(format!("it has {channels} channels; 1 to {MAX_CHANNELS} are accepted")),
    }
}

/// Check the number of samples.
pub(crate) fn check_length(samples: usize) -> Result<(), String> {
    match samples {
        ..=MAX_SAMPLES => fits(samples).map_err(|e| format!("it has more than {samples} samples: {e}")),
        _ => Err(format!("it is longer than {MAX_SAMPLES} samples")),
    }
}

/// Check that samples take no more memory than one file may unpack to.
pub(crate) fn fits(samples: usize) -> std::io::Result<()> {
    memory::check(samples as u64 * size_of::<f32>() as u64)
}

fn explain(error: Error) -> String {
    match error {
        Error::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => "the file is truncated".into(),
        Error::Unsupported(what) => format!("it needs an unsupported feature: {what}"),
        Error::ResetRequired => "another stream follows the first; only one is read".into(),
        other => other.to_string(),
    }
}
