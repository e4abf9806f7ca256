//! Large files of JSON lines: `.jsonl` or `.ndjson`, also with `.gz`. The start of each line is indexed, and a line is parsed when
//! a value of it is read, so that memory stays small. Values are those of the layout [`rows`](super::rows).
//!
//! The fields are the keys of the first thousand rows and of a thousand rows that are spread over the files.

use super::place::{describes, extension, file_name, is_archive, origin, split_of_table};
use super::rows::{RelativeFiles, json, kind, names_files};
use super::{Place, Table, unknown_field};
use crate::data::files::{self, Extent, canonical_split};
use crate::data::{DataError, Files};
use rayon::prelude::*;
use smalti_contract::{File, Value};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "json_lines";
/// Files of more bytes are indexed; smaller ones are parsed at once, as the layout `rows`.
const LARGE: u64 = 16 << 20;
/// The usual ratio of texts to their bytes in gzip.
const GZIP_RATIO: u64 = 4;
/// The first rows, and the number of rows spread over the files, whose keys are fields.
const PROBED: usize = 1_000;
/// The most bytes of a line.
const MAX_LINE: u64 = 256 << 20;
/// The field of the split, which is the start of a file's name.
const SPLIT: &str = "split";

struct JsonLines {
    name: String,
    fields: Vec<String>,
    /// The type of each field's values, and the place of the first one.
    kinds: Vec<Option<(&'static str, String)>>,
    /// Whether the last field is the split by the file's name.
    has_splits: bool,
    files: Vec<Lines>,
    len: usize,
}

/// The lines of one file.
struct Lines {
    location: String,
    origin: Option<String>,
    bytes: Extent,
    /// The offset of each line that is not blank.
    starts: Vec<u64>,
    /// The number of the first row.
    first: usize,
    relative: RelativeFiles,
}

/// Opens large JSON lines: a file, the files of a pattern, or a folder of such files only. If the settings name this layout, the
/// files may be small. Several files have the field `split` by their names, unless they already have one.
///
/// # Errors
/// [`DataError`] for files that cannot be read, have no row or are no JSON lines, and for a field with values of different types.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let locations = match place.files()? {
        Some(files) => in_folder(&files),
        None => place.locations()?,
    };
    if locations.is_empty() || !locations.iter().all(|location| is_json_lines(location)) {
        return place.decline("it is no file named .jsonl or .ndjson");
    }
    if !place.is_requested(NAME) && unpacked_len(&locations)? <= LARGE {
        return place.decline("it is small enough to be read at once, as rows");
    }
    place.refuse_columns(NAME)?;
    place.because("it is named .jsonl or .ndjson, and too large to be read at once");
    let several = place.is_pattern() || locations.len() > 1;
    Ok(Some(Arc::new(JsonLines::new(place, locations, several)?)))
}

fn is_json_lines(location: &str) -> bool {
    ["jsonl", "ndjson"].contains(&extension(location))
}

/// The JSON lines of a folder of such files and their descriptions, without a list of other files.
fn in_folder(files: &Files) -> Vec<String> {
    let all = || files.list().iter();
    let lists =
        |path: &String| ["manifest.", "metadata."].iter().any(|name| file_name(path).starts_with(name));
    let fits = |path: &String| describes(path) || is_json_lines(path) && !lists(path);
    match !is_archive(files.name()) && all().all(fits) {
        true => all().filter(|path| is_json_lines(path)).map(|path| files.location(path)).collect(),
        false => vec![],
    }
}

/// The size of the files, roughly for those in gzip.
fn unpacked_len(locations: &[String]) -> Result<u64, DataError> {
    locations.iter().try_fold(0_u64, |sum, location| {
        let ratio = if location.ends_with(".gz") { GZIP_RATIO } else { 1 };
        Ok(sum.saturating_add(files::stored_len(location)?.saturating_mul(ratio)))
    })
}

impl JsonLines {
    fn new(place: &Place, locations: Vec<String>, several: bool) -> Result<Self, DataError> {
        let (name, outside) = (place.path.as_str(), place.allow_outside);
        let open = |location| Lines::open(location, outside);
        let mut files = locations.into_par_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut len = 0;
        for file in &mut files {
            file.first = len;
            len += file.starts.len();
        }
        if len == 0 {
            return Err(DataError::Empty { location: name.into(), expected: "JSON lines" });
        }
        let has_splits = several && files.iter().any(|file| !split_of_table(&file.location).is_empty());
        let mut table = Self { name: name.into(), fields: vec![], kinds: vec![], has_splits, files, len };
        let spread = (0..len).step_by(len.div_ceil(PROBED));
        for row in (0..len.min(PROBED)).chain(spread).collect::<BTreeSet<usize>>() {
            let (file, row) = table.find(row);
            let object = json::object(&file.line(row)?).and_then(|object| json::fields("", object));
            let (values, place) = (object.map_err(|e| file.refused(row, e))?, file.location(row));
            table.probe(values, place)?;
        }
        table.has_splits &= !table.fields.iter().any(|field| field == SPLIT);
        if table.has_splits {
            table.fields.push(SPLIT.into());
            table.kinds.push(None);
        }
        Ok(table)
    }

    /// Adds the fields of a row, and checks the types of its values.
    fn probe(&mut self, values: Vec<(String, Value)>, place: String) -> Result<(), DataError> {
        for (field, value) in values {
            let number = self.fields.iter().position(|known| *known == field).unwrap_or(self.fields.len());
            if number == self.fields.len() {
                self.fields.push(field);
                self.kinds.push(None);
            }
            match kind(&value) {
                Some(kind) if self.kinds[number].is_none() => {
                    self.kinds[number] = Some((kind, place.clone()))
                }
                _ => self
                    .check(number, &value)
                    .map_err(|problem| DataError::format(&place, "a table", problem))?,
            }
        }
        Ok(())
    }

    /// Fails if a value's type is not that of the field.
    fn check(&self, number: usize, value: &Value) -> Result<(), String> {
        match (&self.kinds[number], kind(value)) {
            (Some((expected, place)), Some(found)) if *expected != found => {
                let field = &self.fields[number];
                Err(format!("the field {field:?} must be {expected}, as in {place}; found {found}"))
            }
            _ => Ok(()),
        }
    }

    /// The file of a row, and the row's number in it.
    fn find(&self, row: usize) -> (&Lines, usize) {
        let file = &self.files[self.files.partition_point(|file| file.first <= row).saturating_sub(1)];
        (file, row - file.first)
    }

    fn get(&self, row: usize, field: &str, with_bytes: bool) -> Result<Value, DataError> {
        let number = self.fields.iter().position(|known| known == field);
        let number = number.ok_or_else(|| unknown_field(self, field))?;
        let (file, row) = self.find(row);
        if self.has_splits && number + 1 == self.fields.len() {
            let split = split_of_table(&file.location);
            let split = canonical_split(split);
            return Ok(if split.is_empty() { Value::Missing } else { Value::Text(split.into()) });
        }
        let found = json::field(&file.line(row)?, field);
        let value = found.map_err(|problem| file.refused(row, problem))?.unwrap_or_default();
        self.check(number, &value).map_err(|problem| file.refused(row, problem))?;
        match value {
            Value::Text(name) if names_files(field) => {
                let bytes = match with_bytes {
                    true => file.relative.read(&name, &file.location(row))?,
                    false => vec![],
                };
                Ok(Value::File(File { name, bytes }))
            }
            value => Ok(value),
        }
    }
}

impl Lines {
    fn open(location: String, allow_outside: bool) -> Result<Self, DataError> {
        let bytes = files::extent(&location)?;
        let starts = starts(&location, &bytes)?;
        let (origin, relative) =
            (origin(&location), RelativeFiles::new(&location).allow_outside(allow_outside));
        Ok(Self { location, origin, bytes, starts, first: 0, relative })
    }

    fn location(&self, row: usize) -> String {
        format!("{} row {}", self.location, row + 1)
    }

    /// The bytes of a row's line, and of blank lines after it.
    fn line(&self, row: usize) -> Result<Vec<u8>, DataError> {
        let start = self.starts.get(row).copied().unwrap_or(self.bytes.len());
        let end = self.starts.get(row + 1).copied().unwrap_or(self.bytes.len());
        let line = self.bytes.slice(start, end.saturating_sub(start));
        let line = line.map_or_else(|| Ok(vec![]), |line| line.read());
        line.map_err(|e| DataError::io(&self.location, "a file", e))
    }

    /// An error about a row, with the number of its line, which is counted for it.
    fn refused(&self, row: usize, problem: String) -> DataError {
        let start = self.starts.get(row).copied().unwrap_or(0);
        let before = BufReader::new(self.bytes.reader().take(start));
        let line = 1 + before.split(b'\n').take_while(Result::is_ok).count();
        DataError::format(&self.location, "JSON lines", format!("line {line}: {problem}"))
    }
}

/// The offsets of the lines that are not blank.
fn starts(location: &str, bytes: &Extent) -> Result<Vec<u64>, DataError> {
    let mut reader = BufReader::with_capacity(1 << 20, bytes.reader());
    let (mut starts, mut line, mut offset) = (vec![], vec![], 0);
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_LINE + 1).read_until(b'\n', &mut line);
        let n = read.map_err(|e| DataError::io(location, "a file", e))? as u64;
        if n == 0 {
            return Ok(starts);
        }
        if n > MAX_LINE {
            let problem = format!("a line from byte {offset} on has more than {MAX_LINE} bytes");
            return Err(DataError::format(location, "JSON lines", problem));
        }
        // A byte-order mark.
        let mark = if offset == 0 && line.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        if !line[mark..].trim_ascii().is_empty() {
            starts.push(offset + mark as u64);
        }
        offset += n;
    }
}

impl Table for JsonLines {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.len
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, true)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, false)
    }

    fn steps(&self, row: usize) -> usize {
        let is_series = |value: &Value| value.steps().is_some();
        let of_lists = self
            .fields
            .iter()
            .zip(&self.kinds)
            .filter(|(_, kind)| kind.as_ref().is_some_and(|(kind, _)| *kind == "a list"));
        let mut series = of_lists.filter_map(|(field, _)| self.get(row, field, false).ok()).filter(is_series);
        series.next().and_then(|value| value.steps()).unwrap_or(0)
    }

    fn location(&self, row: usize) -> String {
        let (file, row) = self.find(row);
        file.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (file, in_file) = self.find(row);
        let mut origin = format!("{} row {in_file}", file.origin.as_ref()?);
        for field in self.fields.iter().filter(|field| names_files(field)) {
            if let Ok(Value::File(named)) = self.peek(row, field) {
                origin = format!("{origin}, {}", file.relative.origin(&named.name)?);
            }
        }
        Some(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{at, folder_of, gzip};
    use crate::table::{Source, SourceRegistry};

    fn opened(path: &str) -> Result<Arc<dyn Table>, DataError> {
        SourceRegistry::builtin().open(&Source { layout: Some(NAME.into()), ..Source::new(path) })
    }

    fn all(table: &dyn Table, field: &str) -> Vec<Value> {
        (0..table.len()).map(|row| table.value(row, field).unwrap()).collect()
    }

    const LINES: &[u8] = b"\xef\xbb\xbf{\"text\": \"a\", \"n\": 1, \"in\": {\"v\": [1, 2]}}\n\n  \r\n\
        {\"n\": null, \"late\": \"x\"}\r\n{\"text\": \"b\", \"n\": 3}";

    #[test]
    fn lines_are_rows_as_if_they_were_read_at_once() {
        let folder = folder_of(&[("t.jsonl", LINES), ("p.ndjson.gz", &gzip(LINES)), ("s/t.jsonl", LINES)]);
        let rows = SourceRegistry::builtin().open(&Source::new(at(&folder, "t.jsonl"))).unwrap();
        for path in ["t.jsonl", "p.ndjson.gz", "s"] {
            let table = opened(&at(&folder, path)).unwrap();
            assert_eq!(
                (table.fields(), table.len()),
                (&["text", "n", "in.v", "late"].map(String::from)[..], 3)
            );
            for field in rows.fields() {
                assert_eq!(all(&*table, field), all(&*rows, field), "{path} {field}");
            }
        }
        let table = opened(&at(&folder, "t.jsonl")).unwrap();
        assert_eq!((table.location(1), table.origin(1)), (rows.location(1), rows.origin(1)));
        assert!(table.value(0, "no").is_err());
    }

    #[test]
    fn paths_are_relative_and_splits_are_those_of_the_names() {
        let folder = folder_of(&[
            ("train-0.jsonl", b"{\"path\": \"a.png\"}\n"),
            ("val.jsonl", b"{\"path\": \"gone.png\"}\n{\"path\": null}\n"),
            ("a.png", b"A"),
        ]);
        let table = opened(&at(&folder, "*.jsonl")).unwrap();
        assert_eq!(table.fields(), ["path", "split"]);
        assert_eq!(all(&*table, "split"), ["train", "validation", "validation"].map(Value::from));
        let file = File { name: "a.png".into(), bytes: b"A".to_vec() };
        assert_eq!(table.value(0, "path").unwrap(), Value::File(file));
        assert!(table.value(1, "path").unwrap_err().to_string().contains("val.jsonl row 1 names"));
        assert!(table.value(2, "path").unwrap().is_missing());
    }

    #[test]
    fn an_error_names_the_line_and_the_field() {
        let many: String =
            (0..3000).map(|n| if n == 2000 { "{\"x\": NaN}\n" } else { "{\"x\": 1}\n" }).collect();
        let other = many.replace("NaN", "\"two\"");
        let folder = folder_of(&[
            ("nan.jsonl", many.replace("{\"x\": 1}\n{\"x\": NaN}", "\n{\"x\": NaN}\n{}").as_bytes()),
            ("type.jsonl", other.as_bytes()),
            ("early.jsonl", b"\n{\"x\": 1}\n{\"x\": [1]}\n"),
            ("list.jsonl", b"[1]\n"),
            ("blank.jsonl", b"\n \n"),
        ]);
        let error = |path: &str| {
            let read = opened(&at(&folder, path))
                .and_then(|table| (0..table.len()).try_for_each(|row| table.value(row, "x").map(drop)));
            read.unwrap_err().to_string().replace(&at(&folder, ""), "")
        };
        assert_eq!(
            error("nan.jsonl"),
            "nan.jsonl: not readable as JSON lines: line 2001: NaN is not JSON; write null for a missing number"
        );
        assert_eq!(
            error("type.jsonl"),
            "type.jsonl: not readable as JSON lines: line 2001: the field \"x\" must be a number, as in type.jsonl row 1; \
             found a text"
        );
        assert!(error("early.jsonl").contains("early.jsonl row 2: "), "{}", error("early.jsonl"));
        assert!(error("list.jsonl").contains("line 1: expected a JSON object; invalid type"));
        assert_eq!(error("blank.jsonl"), "blank.jsonl: empty; expected JSON lines");
    }

    #[test]
    fn small_files_are_read_at_once() {
        let folder = folder_of(&[("t.jsonl", LINES)]);
        let source = Source::new(at(&folder, "t.jsonl"));
        assert!(open(&Place::new(&source)).unwrap().is_none());
    }
}
