//! The modality of a file.

/// The modality of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Modality {
    /// UTF-8 text.
    Text,
    /// An image, or many in an IDX file.
    Image,
    /// An audio clip.
    Audio,
    /// Logged episodes.
    Trajectory,
}

impl Modality {
    /// The name of the modality, of its feature and of its tokenizer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Trajectory => "trajectory",
        }
    }

    /// The modality of a file by its name, or else by its content; `None` if both are unknown.
    pub fn guess(location: &str, bytes: &[u8]) -> Option<Self> {
        Self::by_name(location).or_else(|| Self::by_content(bytes))
    }

    /// The modality by the ending of a file's name. It includes audio formats that cannot be decoded, so that the error
    /// names the format.
    pub fn by_name(location: &str) -> Option<Self> {
        let name = location.rsplit(['/', ':']).next().unwrap_or(location).to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.contains(".tfrecord") {
            return Some(Self::Trajectory);
        }
        match name.rsplit_once('.')?.1 {
            "txt" | "text" | "md" | "rs" | "py" => Some(Self::Text),
            "png" | "jpg" | "jpeg" | "gif" | "bmp" | "webp" | "tif" | "tiff" => Some(Self::Image),
            "wav" | "flac" | "mp3" | "ogg" | "oga" | "m4a" | "mp4" | "aac" => Some(Self::Audio),
            "npz" | "jsonl" | "ndjson" | "parquet" | "h5" | "hdf5" => Some(Self::Trajectory),
            _ => None,
        }
    }

    /// The modality by the first bytes; else text if it is UTF-8; else the modality whose decoder accepts it.
    fn by_content(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
            | [b'f', b'L', b'a', b'C', ..]
            | [b'O', b'g', b'g', b'S', ..]
            | [b'I', b'D', b'3', ..]
            | [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Self::Audio),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..]
            | [0x89, b'P', b'N', b'G', ..]
            | [0xff, 0xd8, 0xff, ..]
            | [b'G', b'I', b'F', b'8', ..]
            | [0, 0, 8, 3, ..] => Some(Self::Image),
            [b'P', b'K', 3, 4, ..]
            | [b'P', b'A', b'R', b'1', ..]
            | [0x89, b'H', b'D', b'F', ..]
            | [b'{', b'"', ..] => Some(Self::Trajectory),
            // CSV is text unless its columns are those of an episode.
            #[cfg(feature = "trajectory")]
            _ if crate::modalities::trajectory::Format::of(bytes)
                == Some(crate::modalities::trajectory::Format::Csv) =>
            {
                Some(Self::Trajectory)
            }
            _ if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')) => Some(Self::Text),
            _ => Self::by_reading(bytes),
        }
    }

    /// The modality whose decoder accepts the file.
    #[cfg_attr(not(any(feature = "image", feature = "audio")), allow(unused_variables))]
    fn by_reading(bytes: &[u8]) -> Option<Self> {
        #[cfg(feature = "image")]
        if crate::modalities::image::read(bytes).is_ok() {
            return Some(Self::Image);
        }
        #[cfg(feature = "audio")]
        {
            use crate::modalities::audio::{AudioConfig, AudioTokenizer};
            use smalti_contract::Tokenizer;
            let reader = AudioTokenizer::new(AudioConfig::default()).ok()?;
            if reader.raw_inputs(bytes).next().is_some_and(|clip| clip.is_ok()) {
                return Some(Self::Audio);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_takes_precedence_over_the_content() {
        let cases: [(&str, &[u8], Option<Modality>); 15] = [
            ("a.tar/b.WAV", b"", Some(Modality::Audio)),
            ("notes.md", b"\x89PNG", Some(Modality::Text)),
            ("builtin:digits/t10k-images-idx3-ubyte", &[0, 0, 8, 3, 0], Some(Modality::Image)),
            ("speech.FLAC", b"", Some(Modality::Audio)),
            ("log", b"{\"observations\": []}", Some(Modality::Trajectory)),
            ("log.jsonl.gz", b"", Some(Modality::Trajectory)),
            ("data", b"PK\x03\x04", Some(Modality::Trajectory)),
            ("log.csv", b"name,age\nAda,36\n", Some(Modality::Text)),
            ("log.h5", b"", Some(Modality::Trajectory)),
            ("sound", b"RIFF\0\0\0\0WAVEfmt ", Some(Modality::Audio)),
            ("sound", b"OggS\0\x02", Some(Modality::Audio)),
            ("speech.m4a", b"", Some(Modality::Audio)),
            ("README", "ä text".as_bytes(), Some(Modality::Text)),
            ("blob", &[0xff, 0, 1], None),
            ("a.b/blob", b"\0\0", None),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(Modality::guess(name, bytes), expected, "{name}");
        }
    }
}
