//! Detection of a file's format by its content.

use crate::csv::is_csv;

/// A file format of episodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy's archive: [`npz`](crate::npz).
    Npz,
    /// One object in each line: [`jsonl`](crate::jsonl).
    JsonLines,
    /// One step in each row: [`csv`](crate::csv).
    Csv,
    /// Columns in Parquet, such as LeRobot's: [`parquet`](crate::parquet).
    Parquet,
    /// D4RL's or Minari's arrays in HDF5; needs the feature `hdf5`.
    Hdf5,
}

impl Format {
    /// Detect the format by the first bytes; `None` if it is unknown.
    ///
    /// The first line of a CSV file must have names of columns of steps. A file that begins with `{` is JSON lines.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Npz),
            [b'P', b'A', b'R', b'1', ..] => Some(Self::Parquet),
            [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Hdf5),
            _ if bytes.trim_ascii_start().starts_with(b"{") => Some(Self::JsonLines),
            _ => is_csv(bytes).then_some(Self::Csv),
        }
    }

    /// The format by the ending of a file's name, also before `.gz`; `None` if it is unknown.
    pub fn by_name(name: &str) -> Option<Self> {
        match name.strip_suffix(".gz").unwrap_or(name).rsplit_once('.')?.1 {
            "npz" => Some(Self::Npz),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            "hdf5" | "h5" => Some(Self::Hdf5),
            _ => None,
        }
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npz => "npz",
            Self::JsonLines => "JSON lines",
            Self::Csv => "CSV",
            Self::Parquet => "Parquet",
            Self::Hdf5 => "HDF5",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_detected_by_the_content() {
        let cases: [(&[u8], Option<Format>); 8] = [
            (b"PK\x03\x04", Some(Format::Npz)),
            (b"PAR1", Some(Format::Parquet)),
            (b"\x89HDF\r\n\x1a\n", Some(Format::Hdf5)),
            (b"\n {\"observations\"", Some(Format::JsonLines)),
            (b"episode,obs.x,action,reward\n", Some(Format::Csv)),
            (b"name,age\n", None),
            (b"", None),
            (b"\x89PNG", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Format::of(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn the_format_is_known_by_the_ending_of_the_name() {
        assert_eq!(Format::by_name("a.b/log.csv.gz"), Some(Format::Csv));
        assert_eq!([Format::by_name("log.h5"), Format::by_name("log.json")], [Some(Format::Hdf5), None]);
    }
}
