//! Rows in text files: `.tsv`, `.csv` and JSON lines.

use super::column::number;
use super::json;
use super::parse::{Parsed, Raw};
use crate::data::DataError;
use crate::table::place::extension;
use csv::{ReaderBuilder, StringRecord, Terminator};
use indexmap::IndexMap;
use smalti_contract::{Value, listed};

/// Delimiters that are detected, the usual ones first.
const DELIMITERS: [u8; 4] = *b",\t;|";
/// Records from which the delimiter is detected.
const PROBED: usize = 10;
/// The name that pandas gives to the first column without a name.
const UNNAMED: &str = "Unnamed: 0";
/// What to do about a file without a header.
pub const COLUMNS: &str =
    "if the file has no header, name its columns: data.source = { path = \"…\", columns = [\"NAME\", …] }";

/// The form of a file of fields with a delimiter.
#[derive(Clone, Copy)]
struct Form {
    delimiter: u8,
    /// Whether fields may be in quotes (RFC 4180).
    quotes: bool,
}

/// Parses fields with a delimiter: that of the ending (a tab in `.tsv`, without quoting, and a comma in `.csv`, with quoting),
/// or if the first line does not have it, the comma, tab, semicolon or bar that is as often in each of the first lines. The
/// first line is a header unless `columns` names the fields. A first column of whole numbers without a name, or named
/// `Unnamed: 0`, is pandas' index and is skipped. Blank lines are skipped.
///
/// # Errors
/// [`DataError::Format`] with the line of a row with another number of fields, and for a first line that cannot be a header:
/// it has a duplicate or empty name, or only numbers.
pub fn delimited(location: &str, text: &str, columns: Option<&[String]>) -> Result<Parsed, DataError> {
    let refuse = |problem: String| DataError::format(location, "a table", problem);
    let own = Form::of(location);
    let form = detect(text, own, columns.map(<[String]>::len));
    let mut records = form.records(text);
    let names = match columns {
        Some(columns) => Some((0, columns.to_vec())),
        None => records.next().transpose().map_err(|e| refuse(e.to_string()))?,
    };
    let fields = names.map(|(_, fields)| fields).unwrap_or_default();
    let mut cells = vec![vec![]; fields.len()];
    for record in records {
        let (line, row) = record.map_err(|e| refuse(e.to_string()))?;
        if row.len() != cells.len() {
            let by = if columns.is_some() { "`columns`" } else { "the header" };
            let problem =
                format!("line {line}: expected {} fields, as {by} names; found {}", cells.len(), row.len());
            return Err(refuse(problem));
        }
        cells.iter_mut().zip(row).for_each(|(cells, cell)| cells.push(cell));
    }
    let mut table = Parsed::cells(fields, cells);
    if columns.is_none() {
        drop_index(&mut table);
        check_header(&table).map_err(|problem| refuse(format!("{problem}; {COLUMNS}")))?;
    }
    Ok(table)
}

impl Form {
    /// The form that the ending of a location stands for.
    fn of(location: &str) -> Self {
        match extension(location) {
            "csv" => Self { delimiter: b',', quotes: true },
            _ => Self { delimiter: b'\t', quotes: false },
        }
    }

    /// The records of a text, each with its line; blank lines are left out.
    fn records(self, text: &str) -> impl Iterator<Item = Result<(u64, Vec<String>), csv::Error>> {
        let mut reader = ReaderBuilder::new();
        reader.delimiter(self.delimiter).quoting(self.quotes).has_headers(false).flexible(true);
        if !self.quotes {
            // Without quotes, a return may be part of a text.
            reader.terminator(Terminator::Any(b'\n'));
        }
        let of = move |record: StringRecord| {
            let mut cells: Vec<String> = record.iter().map(str::to_string).collect();
            if let Some(last) = cells.last_mut().filter(|last| !self.quotes && last.ends_with('\r')) {
                last.pop();
            }
            let line = record.position().map_or(0, |position| {
                let from = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
                // The reader's position is before blank lines and the end of the line before.
                let blank = from.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
                position.line() + blank.filter(|byte| **byte == b'\n').count() as u64
            });
            (line, cells)
        };
        let is_blank = move |cells: &[String]| !self.quotes && matches!(cells, [only] if only.is_empty());
        let records = reader.from_reader(text.as_bytes()).into_records().map(move |record| record.map(of));
        records.filter(move |record| !record.as_ref().is_ok_and(|(_, cells)| is_blank(cells)))
    }

    /// The numbers of fields of the first records.
    fn widths(self, text: &str) -> Vec<usize> {
        self.records(text).take(PROBED).map_while(Result::ok).map(|(_, cells)| cells.len()).collect()
    }
}

/// The form of a text: its own, or with another delimiter if the first line does not have its own.
fn detect(text: &str, own: Form, columns: Option<usize>) -> Form {
    let fits = |form: &Form| {
        let widths = form.widths(text);
        let first = widths.first().copied().unwrap_or(0);
        first > 1
            && columns.is_none_or(|columns| columns == first)
            && widths.iter().all(|width| *width == first)
    };
    let has_own = own.widths(text).first().is_some_and(|first| columns.map_or(*first > 1, |n| *first == n));
    if has_own || columns == Some(1) {
        return own;
    }
    let mut others = DELIMITERS.iter().map(|delimiter| Form { delimiter: *delimiter, ..own });
    others.find(fits).unwrap_or(own)
}

/// Leaves out a first column that pandas wrote as its index.
fn drop_index(table: &mut Parsed) {
    let is_index = match (table.fields.first(), table.columns.first()) {
        (Some(name), Some(Raw::Cells(cells))) if name.trim().is_empty() || name == UNNAMED => {
            !cells.is_empty() && cells.iter().all(|cell| cell.parse::<u64>().is_ok())
        }
        _ => false,
    };
    if is_index && table.fields.len() > 1 {
        table.fields.remove(0);
        table.columns.remove(0);
        table.skipped.push((UNNAMED.to_string(), "the index that pandas writes"));
    }
}

/// Checks that the first line is a header.
fn check_header(table: &Parsed) -> Result<(), String> {
    for (at, field) in table.fields.iter().enumerate() {
        if field.trim().is_empty() {
            return Err(format!("field {} has no name", at + 1 + table.skipped.len()));
        }
        if table.fields[..at].contains(field) {
            return Err(format!("the field {field:?} occurs twice"));
        }
    }
    match !table.fields.is_empty() && table.fields.iter().all(|field| number(field).is_some()) {
        true => Err(format!("line 1 has only numbers: {}", listed(&table.fields, ", "))),
        false => Ok(()),
    }
}

/// Parses one JSON object per line. A key that a line does not have is missing in its row; blank lines are skipped.
pub fn json_lines(location: &str, text: &str) -> Result<Parsed, DataError> {
    let mut fields: IndexMap<String, Vec<Value>> = IndexMap::new();
    let mut rows = 0;
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let refuse =
            |problem: String| DataError::format(location, "JSON lines", format!("line {line}: {problem}"));
        let object = json::object(text.as_bytes()).map_err(refuse)?;
        for (name, value) in json::fields("", object).map_err(refuse)? {
            let values = fields.entry(name).or_default();
            values.resize(rows, Value::Missing);
            values.push(value);
        }
        rows += 1;
    }
    fields.values_mut().for_each(|values| values.resize(rows, Value::Missing));
    let (fields, columns) = fields.into_iter().map(|(name, values)| (name, Raw::Values(values))).unzip();
    Ok(Parsed { fields, columns, rows, ..Parsed::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Parsed, String> {
        delimited(name, text, None).map_err(|e| e.to_string())
    }

    fn cells(table: &Parsed, at: usize) -> Vec<&str> {
        match &table.columns[at] {
            Raw::Cells(cells) => cells.iter().map(String::as_str).collect(),
            Raw::Values(_) | Raw::Paths(_) => vec![],
        }
    }

    #[test]
    fn the_delimiter_is_detected() {
        for text in ["a,b\n1,x\n2,y\n", "a\tb\n1\tx\n2\ty", "a;b\r\n1;x\r\n2;y\r\n", "a|b\n1|x\n2|y\n\n\n"] {
            for name in ["t.csv", "t.tsv", "t.csv.gz"] {
                let table = read(name, text).unwrap();
                assert_eq!(table.fields, ["a", "b"], "{name} {text:?}");
                assert_eq!((cells(&table, 0), cells(&table, 1)), (vec!["1", "2"], vec!["x", "y"]));
            }
        }
        let german = read("t.csv", "x;y\n1,5;2\n3;4,5\n").unwrap();
        assert_eq!((german.fields.len(), cells(&german, 0)), (2, vec!["1,5", "3"]));
        let texts = read("t.tsv", "text\none, two; three\nfour\n").unwrap();
        assert_eq!(cells(&texts, 0), ["one, two; three", "four"]);
        let quoted = read("t.csv", "a;b\n\"x;\ny\";2\n").unwrap();
        assert_eq!(cells(&quoted, 0), ["x;\ny"]);
        assert_eq!(cells(&read("t.tsv", "a\tb\n\"x\t\"y\"\n").unwrap(), 0), ["\"x"], "a .tsv is not quoted");
        let named = [String::from("x"), String::from("y")];
        let without = delimited("t.csv", "1;2\n3;4\n", Some(&named)).unwrap();
        assert_eq!((without.rows, cells(&without, 1)), (2, vec!["2", "4"]));
    }

    #[test]
    fn the_index_of_pandas_is_skipped() {
        for name in ["", "Unnamed: 0"] {
            let table = read("t.csv", &format!("{name},a\n0,x\n1,y\n")).unwrap();
            assert_eq!((&table.fields[..], table.skipped.len()), (&["a".to_string()][..], 1));
            assert_eq!(cells(&table, 0), ["x", "y"]);
        }
        assert_eq!(read("t.csv", "Unnamed: 0,a\nk,x\n").unwrap().fields.len(), 2);
    }

    #[test]
    fn a_first_line_that_is_no_header_is_an_error() {
        for (text, problem) in [
            (",a\nk,x\n", "field 1 has no name"),
            ("a,,b\n1,2,3\n", "field 2 has no name"),
            (",a,\n0,1,2\n", "field 3 has no name"),
            ("a,b,a\n1,2,3\n", "the field \"a\" occurs twice"),
            ("5,0.5\n4,1\n", "line 1 has only numbers: 5, 0.5"),
        ] {
            let error = read("t.csv", text).unwrap_err();
            assert!(error.contains(&format!("{problem}; if the file has no header")), "{error}");
            assert!(error.contains("columns = ["), "{error}");
        }
    }

    #[test]
    fn a_row_of_another_width_is_an_error_with_its_line() {
        for (name, text) in [
            ("t.csv", "a,b\n1,2\n\n3\n"),
            ("t.csv", "a,b\r\n1,2\r\n\r\n3\r\n"),
            ("t.tsv", "a\tb\n1\t2\n\n3\n"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.ends_with("line 4: expected 2 fields, as the header names; found 1"), "{error}");
        }
    }
}
