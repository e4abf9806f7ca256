//! Files in forms that no layout reads: what they are, and what to do.

use super::place::extension;
use crate::data::open_text;
use std::io::Read;

/// A form of files.
struct Form {
    /// The first bytes of such files.
    begins: &'static [&'static [u8]],
    endings: &'static [&'static str],
    what: &'static str,
    /// What to do.
    instead: &'static str,
}

/// Bytes that are read of a file.
const PROBED: u64 = 4096;

const FORMS: [Form; 12] = [
    Form {
        begins: &[b"version https://git-lfs"],
        endings: &[],
        what: "a pointer of Git LFS in place of the file",
        instead: "run `git lfs pull`",
    },
    Form {
        begins: &[b"<!DOCTYPE", b"<!doctype", b"<html", b"<?xml"],
        endings: &["html", "htm", "xml"],
        what: "a page of HTML or XML, which may be the error of a download",
        instead: "download the file again, or write its text to .txt files",
    },
    Form {
        begins: &[b"%PDF"],
        endings: &["pdf"],
        what: "a PDF document",
        instead: "write its text to .txt files, or its pages as images",
    },
    Form {
        begins: &[b"\x93NUMPY"],
        endings: &["npy"],
        what: "a single array of NumPy",
        instead: "write the arrays of a log as .npz (numpy.savez), or rows as .parquet or .csv",
    },
    Form {
        begins: &[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"],
        endings: &["pkl", "pickle", "joblib", "pt", "pth", "ckpt"],
        what: "a pickle of Python, which can run code and is never read",
        instead: "write its rows as .parquet, .csv or .jsonl, or the arrays of a log as .npz",
    },
    Form { begins: &[], endings: &["xls", "xlsx", "ods"], what: "a spreadsheet", instead: "save it as .csv" },
    Form {
        begins: &[],
        endings: &["doc", "docx", "odt", "epub", "ppt", "pptx"],
        what: "a document of an office program",
        instead: "write its text to .txt files",
    },
    Form {
        begins: &[b"SQLite format 3"],
        endings: &["db", "sqlite", "sqlite3"],
        what: "a database of SQLite",
        instead: "export a table as .csv",
    },
    Form {
        begins: &[b"MATLAB 5.0"],
        endings: &["mat"],
        what: "a file of MATLAB",
        instead: "write its arrays as .npz, or its rows as .csv",
    },
    Form {
        begins: &[b"Obj\x01"],
        endings: &["avro", "orc", "feather"],
        what: "a table of Avro, ORC or Feather",
        instead: "write it as .parquet",
    },
    Form {
        begins: &[b"#ROSBAG", b"\x89MCAP0"],
        endings: &["bag", "mcap", "db3"],
        what: "a recording of ROS",
        instead: "write its episodes as .npz, .hdf5 or .parquet",
    },
    Form {
        begins: &[b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\xfd7zXZ", b"BZh9", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"],
        endings: &["7z", "rar", "xz", "bz2", "zst"],
        what: "an archive or a packed file",
        instead: "unpack it",
    },
];

/// What a file is, and what to do, if its form is known by its ending or by its first bytes.
pub(super) fn form(location: &str) -> Option<(&'static str, &'static str)> {
    let (ending, start) = (extension(location).to_ascii_lowercase(), start(location));
    let begins = |form: &&Form| form.begins.iter().any(|begin| start.starts_with(begin));
    let ends = |form: &&Form| form.endings.contains(&ending.as_str());
    let [pointer, others @ ..] = &FORMS;
    let found = Some(pointer).filter(begins);
    let found = found.or_else(|| others.iter().find(ends)).or_else(|| others.iter().find(begins));
    found.map(|form| (form.what, form.instead))
}

/// Whether a file is known to be in another form than a text: a PDF document, a page of HTML, JSON.
pub(crate) fn is_unread(location: &str) -> bool {
    extension(location).eq_ignore_ascii_case("json") || form(location).is_some()
}

/// What any other file is, and what to do, by its first bytes.
pub(super) fn content(location: &str) -> (&'static str, &'static str) {
    let start = start(location);
    let text = start.trim_ascii_start();
    let is_text = match std::str::from_utf8(text) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(), // a character that is cut
    };
    match text.first() {
        Some(b'{' | b'[') if is_text => ("JSON", "write one object on each line, and name the file .jsonl"),
        Some(_) if is_text && !text.contains(&0) => {
            ("text", "name it .txt, or .csv, .tsv or .jsonl if each line is a row")
        }
        Some(_) => ("in an unknown form", "name a file of another form"),
        None => ("without content, or cannot be read", "name another file"),
    }
}

/// The first bytes of a file; none if it cannot be read.
fn start(location: &str) -> Vec<u8> {
    let mut start = vec![];
    if let Ok(file) = open_text(location) {
        // What can be read tells the form.
        let _ = file.take(PROBED).read_to_end(&mut start);
    }
    start
}
