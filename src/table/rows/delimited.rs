//! Cells with a delimiter: `.tsv` and `.csv`.

use super::kind::number;
use crate::table::place::extension;
use csv::{Position, Reader, ReaderBuilder, StringRecord, Terminator};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{Cursor, Read, SeekFrom};

/// Delimiters that are detected, the usual ones first.
const DELIMITERS: [u8; 4] = *b",\t;|";
/// Records from which the delimiter is detected.
const PROBED: usize = 10;
/// The bytes that a reader reads ahead.
const BUFFER: usize = 1 << 16;
/// The name that pandas gives to the first column without a name.
pub const UNNAMED: &str = "Unnamed: 0";
/// What to do about a file without a header.
pub const COLUMNS: &str =
    "if the file has no header, name its columns: data.source = { path = \"…\", columns = [\"NAME\", …] }";

/// The form of a file of cells with a delimiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    delimiter: u8,
    /// Whether cells may be in quotes (RFC 4180).
    quotes: bool,
}

/// A reader of the records of one form.
type FormReader = (Form, Reader<Cursor<Vec<u8>>>);

thread_local! {
    /// A reader for each form, because it takes longer to build a reader than to read a record.
    static READERS: RefCell<Vec<FormReader>> = const { RefCell::new(vec![]) };
}

impl Form {
    /// The form of a text: that of its ending (a tab in `.tsv`, without quoting, and a comma in `.csv`, with quoting), or if the
    /// first line does not have it, the comma, tab, semicolon or bar that is as often in each of the first lines. `start` opens
    /// the text.
    pub fn detect<R: Read>(location: &str, columns: Option<usize>, start: impl Fn() -> R) -> Self {
        let own = match extension(location) {
            "csv" => Self { delimiter: b',', quotes: true },
            _ => Self { delimiter: b'\t', quotes: false },
        };
        let widths = own.widths(start());
        let has_own = widths.first().is_some_and(|first| columns.map_or(*first > 1, |n| *first == n));
        if has_own || columns == Some(1) {
            return own;
        }
        let fits = |form: &Self| {
            let widths = form.widths(start());
            let first = widths.first().copied().unwrap_or(0);
            let expected = columns.unwrap_or(first);
            first > 1 && first == expected && widths.iter().all(|width| *width == first)
        };
        let mut others = DELIMITERS.iter().map(|delimiter| Self { delimiter: *delimiter, ..own });
        others.find(fits).unwrap_or(own)
    }

    /// A reader of records, which have positions.
    pub fn reader<R: Read>(self, text: R) -> Reader<R> {
        let mut reader = ReaderBuilder::new();
        reader.delimiter(self.delimiter).quoting(self.quotes).has_headers(false).flexible(true);
        reader.buffer_capacity(BUFFER);
        if !self.quotes {
            // Without quotes, a return may be part of a text.
            reader.terminator(Terminator::Any(b'\n'));
        }
        reader.from_reader(text)
    }

    /// The first record of these bytes that is not blank.
    ///
    /// # Errors
    /// The problem of bytes without a record, or that are not UTF-8.
    pub fn decode(self, bytes: Vec<u8>) -> Result<StringRecord, String> {
        READERS.with_borrow_mut(|readers| {
            let at = readers.iter().position(|(form, _)| *form == self).unwrap_or_else(|| {
                readers.push((self, self.reader(Cursor::default())));
                readers.len() - 1
            });
            let reader = &mut readers[at].1;
            // Before new bytes, because the first time the reader looks for a header.
            reader.seek_raw(SeekFrom::Start(0), Position::new()).map_err(|e| e.to_string())?;
            *reader.get_mut() = Cursor::new(bytes);
            let mut record = StringRecord::new();
            while reader.read_record(&mut record).map_err(|e| e.to_string())? {
                if !self.is_blank(&record) {
                    *reader.get_mut() = Cursor::default();
                    return Ok(record);
                }
            }
            Err("expected a row; found none; the file changed while in use".into())
        })
    }

    /// The cells of a record.
    pub fn cells(self, record: &StringRecord) -> impl Iterator<Item = &str> {
        (0..record.len()).map(move |number| self.cell(record, number))
    }

    /// A cell of a record; empty if it has fewer cells.
    pub fn cell(self, record: &StringRecord, number: usize) -> &str {
        let cell = record.get(number).unwrap_or_default();
        match !self.quotes && number + 1 == record.len() {
            true => cell.strip_suffix('\r').unwrap_or(cell),
            false => cell,
        }
    }

    /// Whether a record is a blank line.
    pub fn is_blank(self, record: &StringRecord) -> bool {
        !self.quotes && record.len() == 1 && self.cell(record, 0).is_empty()
    }

    /// The numbers of cells of the first records.
    fn widths(self, text: impl Read) -> Vec<usize> {
        let records = self.reader(text).into_records().map_while(Result::ok);
        records.filter(|record| !self.is_blank(record)).take(PROBED).map(|record| record.len()).collect()
    }
}

/// The cells of the first line of a text, which has the file's delimiter; none if it cannot be read.
#[cfg(any(feature = "trajectory", test))]
pub fn first_cells(location: &str, text: &str) -> Vec<String> {
    let form = Form::detect(location, None, || text.as_bytes());
    let record = form.decode(text.into()).unwrap_or_default();
    form.cells(&record).map(|cell| cell.trim().to_string()).collect()
}

/// Checks the names of fields, the first of which is that of column `first`; a line that names the fields of a file
/// (`is_header`) may not have only numbers.
///
/// # Errors
/// The problem, and what to do about it.
pub fn check_names(names: &[String], first: usize, is_header: bool) -> Result<(), String> {
    let mut known = HashSet::with_capacity(names.len());
    let unnamed = names.iter().position(|name| name.trim().is_empty());
    let problem = if let Some(at) = unnamed {
        format!("field {} has no name", at + 1 + first)
    } else if let Some(twice) = names.iter().find(|name| !known.insert(name.as_str())) {
        format!("the field {twice:?} occurs twice")
    } else if is_header && !names.is_empty() && names.iter().all(|name| number(name).is_some()) {
        format!("line 1 has only numbers: {}", smalti_contract::listed(names, ", "))
    } else {
        return Ok(());
    };
    Err(if is_header { format!("{problem}; {COLUMNS}") } else { problem })
}
