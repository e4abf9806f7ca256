//! The records of a file, which are read once when it is opened: their offsets and what their values have in common are kept, and
//! a record is decoded again when a value of it is read.

use super::bytes::{Bounded, text};
use super::delimited::{Form, UNNAMED, check_names};
use super::json;
use super::kind::{Cells, Seen, other_type};
use crate::data::DataError;
use crate::data::files::{self, Extent};
use crate::table::place::extension;
use csv::StringRecord;
use indexmap::IndexMap;
use smalti_contract::{Value, memory};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

/// After twice as many bytes, ever fewer JSON lines are parsed when a file is opened.
const PARSED: u64 = 16 << 20;
/// The first rows, and the most bytes of these, by which the names of files are found.
const HEAD: (usize, u64) = (1_000, 16 << 20);
/// The bytes that are read ahead.
const BUFFER: usize = 1 << 16;

/// The records of one file, decoded on demand.
#[derive(Debug)]
pub struct Records {
    location: String,
    /// `None` for a file that is opened for each record.
    bytes: Option<Extent>,
    encoding: Encoding,
    /// The offset of each record, maybe with blank lines before it, and the end of the last one.
    starts: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    /// A JSON object in each line.
    Json,
    Cells(Form),
}

/// A decoded record.
#[derive(Debug)]
pub enum Record {
    /// The values of JSON by the names of fields.
    Values(IndexMap<String, Value>),
    /// Cells.
    Cells(Form, StringRecord),
}

/// What is found when a file is opened.
#[derive(Default)]
pub struct Contents {
    /// The fields, in the file's order, and what is known of their values.
    pub fields: IndexMap<String, Seen>,
    /// The number of the first field's column: 1 after an index that pandas wrote, else 0.
    pub first: usize,
    /// The first records of cells.
    pub head: Vec<Record>,
}

impl Record {
    /// The value of a key.
    pub fn value(&self, key: &str) -> Value {
        match self {
            Record::Values(values) => values.get(key).cloned().unwrap_or_default(),
            Record::Cells(..) => Value::Missing,
        }
    }

    /// A cell; empty if there is none.
    pub fn cell(&self, number: usize) -> &str {
        match self {
            Record::Values(_) => "",
            Record::Cells(form, cells) => form.cell(cells, number),
        }
    }
}

impl Records {
    /// The records of a table in the format of its extension. `columns` names the fields of a file of cells without a header,
    /// whose first line names them otherwise. A first column of whole numbers without a name, or named `Unnamed: 0`, is pandas'
    /// index and is left out. Blank lines are passed over. With `only_head`, the first records alone are read.
    ///
    /// # Errors
    /// [`DataError::Format`] with the line of a row with another number of cells or that is no JSON object, and for a first line
    /// that cannot be a header: it has a duplicate or empty name, or only numbers; [`DataError::Layout`] for `columns` in a
    /// format with field names.
    pub fn open(
        location: &str,
        columns: Option<&[String]>,
        only_head: bool,
    ) -> Result<(Self, Contents), DataError> {
        let format = extension(location);
        let has_cells = ["tsv", "csv"].contains(&format);
        if columns.is_some() && !has_cells {
            let problem = format!(
                "`columns` names the fields of .tsv and .csv files; .{format} names its own; remove it"
            );
            return Err(DataError::layout(location, problem));
        }
        let (bytes, start) = text(location)?;
        let encoding = match has_cells {
            true => Encoding::Cells(Form::detect(location, columns.map(<[String]>::len), || {
                Bounded::new(&bytes, start)
            })),
            false => Encoding::Json,
        };
        let bounded = Bounded::new(&bytes, start);
        let mut records = Self { location: location.into(), bytes: Some(bytes), encoding, starts: vec![] };
        let contents = match encoding {
            Encoding::Json => records.scan_lines(bounded)?,
            Encoding::Cells(form) => records.scan_cells(form.reader(bounded), form, columns, only_head)?,
        };
        Ok((records, contents))
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether a record has values by keys, which may be other ones than those of the rows that were parsed.
    pub fn has_keys(&self) -> bool {
        matches!(self.encoding, Encoding::Json)
    }

    fn bytes(&self) -> io::Result<Extent> {
        self.bytes.clone().map_or_else(|| Extent::open(Path::new(&self.location)), Ok)
    }

    /// The number of bytes of a record.
    fn size(&self, row: usize) -> u64 {
        self.starts.get(row + 1).zip(self.starts.get(row)).map_or(0, |(end, start)| end - start)
    }

    /// The location of a row.
    pub fn location(&self, row: usize) -> String {
        format!("{} row {}", self.location, row + 1)
    }

    /// Closes a file on disk, which is then opened for each record: a process may open a limited number of files.
    pub fn close(&mut self) {
        // What is unpacked or converted has no time of change.
        let is_on_disk = !self.location.ends_with(".gz") && Path::new(&self.location).is_file();
        self.bytes = self.bytes.take().filter(|bytes| !is_on_disk || bytes.stamp().is_none());
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// [`DataError::Format`] with the line of a record that is not parsed when the file is opened.
    pub fn read(&self, row: usize) -> Result<Record, DataError> {
        let start = self.starts.get(row).copied().unwrap_or_default();
        let failed = |e| DataError::io(&self.location, "a table", e);
        let bytes = self.bytes().map_err(failed)?.slice(start, self.size(row));
        let changed = || io::Error::other("the file changed while in use");
        let bytes = bytes.ok_or_else(changed).and_then(|bytes| bytes.read()).map_err(failed)?;
        let decoded = match self.encoding {
            Encoding::Json => values(&bytes).map(Record::Values),
            Encoding::Cells(form) => form.decode(bytes).map(|cells| Record::Cells(form, cells)),
        };
        decoded.map_err(|problem| self.refused(start, &problem))
    }

    /// Notes where a record starts. The offsets of a table may take as much memory as a file may unpack to.
    fn note(&mut self, start: u64) -> Result<(), DataError> {
        if self.starts.len() == self.starts.capacity() {
            let grown = 2 * size_of_val(&self.starts[..]) as u64;
            let too_many = |e| {
                let problem = format!("it has more than {} rows: {e}", self.starts.len());
                DataError::format(&self.location, "a table", problem)
            };
            memory::check(grown).map_err(too_many)?;
        }
        self.starts.push(start);
        Ok(())
    }

    /// Scans JSON lines.
    fn scan_lines(&mut self, bytes: Bounded) -> Result<Contents, DataError> {
        let start = bytes.start;
        let mut reader = BufReader::with_capacity(BUFFER, bytes);
        let (mut fields, mut line, mut offset) = (IndexMap::<String, Seen>::new(), vec![], start);
        loop {
            line.clear();
            reader.get_mut().record = 0;
            let read = reader.read_until(b'\n', &mut line).map_err(|e| self.unread(offset, e))?;
            if read == 0 {
                break;
            }
            let (row, at) = (self.starts.len(), offset);
            offset += read as u64;
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.note(at)?;
            if std::str::from_utf8(&line).is_err() {
                return Err(self.not_utf8(offset));
            }
            if !is_parsed(row, at - start) {
                continue;
            }
            for (name, value) in values(&line).map_err(|problem| self.refused(at, &problem))? {
                let seen = fields.entry(name);
                let name = seen.key().clone();
                seen.or_insert(Seen::Nothing).add(&value, row).map_err(|(expected, found, first)| {
                    other_type(&self.location, &name, (row, found), (expected, &self.location(first)))
                })?;
            }
        }
        self.starts.push(offset);
        let names: Vec<String> = fields.keys().cloned().collect();
        check_names(&names, 0, false)
            .map_err(|problem| DataError::format(&self.location, "a table", problem))?;
        Ok(Contents { fields, ..Contents::default() })
    }

    /// Scans records of cells.
    fn scan_cells(
        &mut self,
        mut reader: csv::Reader<Bounded>,
        form: Form,
        columns: Option<&[String]>,
        only_head: bool,
    ) -> Result<Contents, DataError> {
        let start = reader.get_ref().start;
        let mut names = columns.map(<[String]>::to_vec);
        let (mut cells, mut head) = (vec![Cells::default(); names.as_ref().map_or(0, Vec::len)], vec![]);
        let (mut record, mut has_index, mut offset) = (StringRecord::new(), true, start);
        loop {
            reader.get_mut().record = 0;
            let found = reader.read_record(&mut record);
            let end = start + reader.position().byte();
            match found.map_err(csv::Error::into_kind) {
                Ok(true) => {}
                Ok(false) => break,
                Err(csv::ErrorKind::Io(e)) => return Err(self.unread(offset, e)),
                Err(_) => return Err(self.not_utf8(end)),
            }
            let at = std::mem::replace(&mut offset, end);
            if form.is_blank(&record) {
                continue;
            }
            let Some(names) = &names else {
                names = Some(form.cells(&record).map(String::from).collect());
                cells.resize(record.len(), Cells::default());
                continue;
            };
            if record.len() != names.len() {
                let (n, by) = (names.len(), if columns.is_some() { "`columns`" } else { "the header" });
                let problem = format!("expected {n} fields, as {by} names; found {}", record.len());
                return Err(self.refused(at, &problem));
            }
            let row = self.starts.len();
            self.note(at)?;
            cells.iter_mut().zip(form.cells(&record)).for_each(|(cells, cell)| cells.add(cell, row));
            has_index &= form.cell(&record, 0).parse::<u64>().is_ok();
            if row < HEAD.0 && end - start < HEAD.1 {
                head.push(Record::Cells(form, record.clone()));
            } else if only_head {
                break;
            }
        }
        self.starts.push(offset);
        let mut names = names.unwrap_or_default();
        let is_index = |name: &String| name.trim().is_empty() || name == UNNAMED;
        has_index &=
            columns.is_none() && self.len() > 0 && names.len() > 1 && names.first().is_some_and(is_index);
        let first = usize::from(has_index);
        names.drain(..first);
        check_names(&names, first, columns.is_none())
            .map_err(|problem| DataError::format(&self.location, "a table", problem))?;
        let fields = names.into_iter().zip(cells.into_iter().skip(first).map(Seen::Cells)).collect();
        Ok(Contents { fields, first, head })
    }

    /// An error about the record at an offset, with the number of its line, which is counted for it.
    fn refused(&self, start: u64, problem: &str) -> DataError {
        let format = if self.has_keys() { "JSON lines" } else { "a table" };
        DataError::format(&self.location, format, format!("line {}: {problem}", self.line(start)))
    }

    /// The number of the line at an offset or, if this is the end of a line or blank, of the next one that is not.
    fn line(&self, start: u64) -> usize {
        let Ok(bytes) = self.bytes() else { return 1 };
        let bytes = BufReader::with_capacity(BUFFER, bytes.reader()).bytes().map_while(Result::ok);
        let is_before = |&(offset, byte): &(u64, u8)| offset < start || matches!(byte, b'\n' | b'\r');
        let before = (0..).zip(bytes).take_while(is_before);
        1 + before.filter(|(_, byte)| *byte == b'\n').count()
    }

    /// The error of a record at an offset that cannot be read, because it is too large or its file fails.
    fn unread(&self, start: u64, error: io::Error) -> DataError {
        match error.kind() {
            io::ErrorKind::FileTooLarge => {
                let cause = match self.has_keys() {
                    true => "the line is too long",
                    false => "the row is too long; check that its quotes are closed",
                };
                self.refused(start, &format!("{cause}: {error}"))
            }
            _ => DataError::io(&self.location, "a table", error),
        }
    }

    /// The error of bytes before an offset that are not UTF-8.
    fn not_utf8(&self, end: u64) -> DataError {
        let start = |bytes: Extent| bytes.slice(0, end.max(PARSED).min(bytes.len())).unwrap_or(bytes).read();
        match self.bytes().and_then(start).map(|bytes| files::text(&self.location, bytes)) {
            Ok(Err(error)) => error,
            _ => DataError::format(&self.location, "UTF-8 text", "it has bytes that are not UTF-8"),
        }
    }
}

/// Whether the JSON line of a row, at a distance from the first one, is parsed when the file is opened.
fn is_parsed(row: usize, distance: u64) -> bool {
    (row as u64).is_multiple_of((distance / PARSED).next_power_of_two())
}

/// The values of a JSON object by the names of fields.
fn values(json: &[u8]) -> Result<IndexMap<String, Value>, String> {
    Ok(json::fields("", json::object(json)?)?.into_iter().collect())
}
