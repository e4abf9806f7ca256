//! Recordings in any format, told apart by their content.

use crate::waveform::wrong_rate;
use crate::{SAMPLE_RATES, Waveform, container, wav};
use smalti_contract::{TokenizeError, Value};
use std::io::{Cursor, ErrorKind};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MpaReader, OggReader};

/// The longest recording that [`read`] decodes, in samples of one channel: 4.6 hours at 16 kHz, 1 GiB.
///
/// A small file may hold that much silence; one that holds more is refused.
pub const MAX_SAMPLES: usize = 1 << 28;

/// The most channels that are mixed down; a file that says more is broken.
const MAX_CHANNELS: usize = 64;

/// A file format, or one within another, that is known by how it begins.
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
    const NAMES: &str = "WAV, FLAC, MP3, Ogg Vorbis, M4A and AAC";

    fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Self::Wav,
            [b'f', b'L', b'a', b'C', ..] => Self::Flac,
            [b'O', b'g', b'g', b'S', ..] => Self::Ogg,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::Mp4,
            // Twelve bits of sync, then the version and the layer; an AAC frame says layer 0, which MPEG has not.
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

/// The clip in a value of a table: an encoded file in any format that [`read`] knows.
///
/// # Errors
/// [`TokenizeError::Input`] for a value of another sort; as of [`read`] for a file that cannot be decoded.
pub(crate) fn read_value(value: Value) -> Result<Waveform, TokenizeError> {
    match value {
        Value::File(file) => read(&file.bytes),
        other => Err(other.unexpected("an audio clip: a file")),
    }
}

/// Decodes a recording: WAV (integers of 8, 16, 24 or 32 bits or floats of 32), FLAC, MP3, Ogg Vorbis, M4A or AAC
/// (low complexity), whatever its file is called.
///
/// Integers are divided by 2^(bits-1), into -1..1. Several channels are mixed down to their mean. What an encoder put
/// before and behind the sound is taken off, as far as the file says how much that is: LAME's header, Ogg's granules,
/// the edit list of an M4A. Tags and images are passed over.
///
/// # Errors
/// [`TokenizeError::Format`] for a file of none of these formats, an encoding within them that is not read (by its
/// name), damaged or missing data where the format tells, a file without samples or of more than [`MAX_SAMPLES`], more
/// than 64 channels, a rate outside of [`SAMPLE_RATES`] and a sample that is not finite.
pub fn read(bytes: &[u8]) -> Result<Waveform, TokenizeError> {
    let sound = container::without_tags(bytes);
    let Some(format) = Format::of(sound) else {
        let problem = match sound {
            [] => "the file is empty".into(),
            _ => format!(
                "it begins with \"{}\", which is none of {}",
                sound[..sound.len().min(12)].escape_ascii(),
                Format::NAMES
            ),
        };
        return Err(TokenizeError::Format { format: "audio", problem });
    };
    let decoded = match format {
        Format::Wav => wav::read_wav(sound),
        _ => decode(format, sound),
    };
    let checked = decoded.and_then(|clip| clip.check().map(|()| clip));
    checked.map_err(|problem| TokenizeError::Format { format: format.name(), problem })
}

fn decode(format: Format, bytes: &[u8]) -> Result<Waveform, String> {
    match format {
        Format::Ogg => container::check_ogg(bytes)?,
        Format::Mp4 => container::check_mp4(bytes)?,
        _ => {}
    }
    let mut reader = open(format, bytes).map_err(explain)?;
    let track = reader.default_track(TrackType::Audio).ok_or("it has no track of sound")?;
    let (id, promised) = (track.id, track.num_frames);
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or("it says nothing about how its sound is encoded")?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(explain)?;
    let mut clip = Waveform { sample_rate: 0, samples: vec![] };
    let mut channels = vec![];
    while let Some(packet) = reader.next_packet().map_err(explain)? {
        if packet.track_id == id {
            append(&mut clip, decoder.as_mut(), &packet, &mut channels)?;
        }
    }
    if format == Format::Mp4 {
        container::edit_mp4(bytes, id, &mut clip);
    } else if let Some(promised) = promised.filter(|promised| *promised > clip.samples.len() as u64) {
        return Err(format!("the file is cut short: {} of {promised} samples are there", clip.samples.len()));
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

/// Decodes a packet and mixes its channels down.
fn append(
    clip: &mut Waveform,
    decoder: &mut dyn AudioDecoder,
    packet: &symphonia::core::packet::Packet,
    channels: &mut Vec<Vec<f32>>,
) -> Result<(), String> {
    let decoded = decoder.decode(packet).map_err(explain)?;
    if decoded.frames() == 0 {
        return Ok(()); // all of it was an encoder's delay
    }
    let rate = decoded.spec().rate();
    if !SAMPLE_RATES.contains(&rate) {
        return Err(wrong_rate(rate));
    }
    if clip.samples.is_empty() {
        clip.sample_rate = rate;
    } else if rate != clip.sample_rate {
        return Err(format!("the sample rate changes from {} to {rate} Hz within it", clip.sample_rate));
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

/// Refuses numbers of channels that no recording has.
pub(crate) fn check_channels(channels: usize) -> Result<(), String> {
    match channels {
        1..=MAX_CHANNELS => Ok(()),
        _ => Err(format!("it has {channels} channels; 1 to {MAX_CHANNELS} are accepted")),
    }
}

/// Refuses what would be too long.
pub(crate) fn check_length(samples: usize) -> Result<(), String> {
    match samples {
        ..=MAX_SAMPLES => Ok(()),
        _ => Err(format!("it is longer than {MAX_SAMPLES} samples")),
    }
}

fn explain(error: Error) -> String {
    match error {
        Error::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => "the file is cut short".into(),
        Error::Unsupported(what) => format!("it wants what is not supported: {what}"),
        Error::ResetRequired => "another stream follows the first; only one is read".into(),
        other => other.to_string(),
    }
}
