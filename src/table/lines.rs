//! Parallel texts: one file per field and one line per row, such as `train.{en,de}.gz`.

use super::place::{extension, is_archive, origin, split_of};
use super::rows::is_table;
use super::{Place, Table, unknown_field};
use crate::data::{DataError, read_text};
use smalti_contract::Value;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "lines";
/// Endings of files that are not parallel texts.
const OTHERS: [&str; 26] = [
    "arrow", "bin", "bmp", "flac", "gif", "h5", "hdf5", "jpeg", "jpg", "json", "m4a", "md", "mp3", "npy",
    "npz", "ogg", "opus", "parquet", "pdf", "png", "tif", "tiff", "txt", "wav", "webp", "zip",
];

/// Parallel texts, in groups of files.
struct Lines {
    name: String,
    fields: Vec<String>,
    groups: Vec<Group>,
    len: usize,
}

/// Files whose lines are parallel.
struct Group {
    split: String,
    /// One for each field.
    texts: Vec<Text>,
    /// The number of the first row.
    start: usize,
}

/// A text and the offsets of its lines.
struct Text {
    location: String,
    origin: Option<String>,
    text: String,
    starts: Vec<usize>,
}

/// Opens files whose names differ in their ending, which is the field's name unless `columns` is set. The start of their
/// names is the field `split`. If the settings name this layout, files of one ending are rows of the field `text`.
///
/// # Errors
/// [`DataError`] for files that cannot be read, and for parallel files with different numbers of lines.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let requested = place.is_requested(NAME);
    // Only braces in place of the ending show that texts are parallel.
    if !(requested || place.is_pattern() && extension(&place.path).starts_with('{')) {
        return place.decline("it is no pattern of parallel texts, such as train.{en,de}");
    }
    let locations = place.locations()?;
    let mut endings: Vec<&str> = vec![];
    for location in &locations {
        if !endings.contains(&extension(location)) {
            endings.push(extension(location));
        }
    }
    let other = |location: &String| {
        is_table(location) || is_archive(location) || OTHERS.contains(&extension(location))
    };
    if !requested && (endings.len() < 2 || locations.iter().any(other)) {
        return place.decline("its files are not texts of two or more endings");
    }
    let fields = match &place.columns {
        Some(columns) if columns.len() == endings.len() => columns.clone(),
        Some(columns) => {
            let problem = format!(
                "expected {} names in `columns`, one for each of .{}; found {}",
                endings.len(),
                endings.join(", ."),
                columns.len()
            );
            return Err(DataError::layout(&place.path, problem));
        }
        None if endings.len() == 1 => vec!["text".to_string()],
        None => endings.iter().map(|ending| ending.to_string()).collect(),
    };
    place.because(format!("its files differ in their ending: .{}", endings.join(", .")));
    let groups = grouped(&locations, &endings)?;
    Lines::read(&place.path, fields, groups).map(|lines| Some(Arc::new(lines) as _))
}

/// The groups of parallel files: for each name, the files of all endings.
fn grouped<'a>(locations: &'a [String], endings: &[&str]) -> Result<Vec<Vec<&'a str>>, DataError> {
    let stem = |location: &'a str| {
        let unpacked = location.strip_suffix(".gz").unwrap_or(location);
        unpacked.strip_suffix(extension(location)).unwrap_or(unpacked)
    };
    let mut stems: Vec<&str> = vec![];
    for location in locations {
        if !stems.contains(&stem(location)) {
            stems.push(stem(location));
        }
    }
    let of = |name: &str, ending: &str| {
        let found = locations.iter().find(|location| stem(location) == name && extension(location) == ending);
        found.map(String::as_str).ok_or_else(|| DataError::Missing {
            location: format!("{name}{ending}"),
            expected: format!("a file of lines beside {name}{}", endings[0]),
        })
    };
    stems.iter().map(|name| endings.iter().map(|ending| of(name, ending)).collect()).collect()
}

impl Lines {
    fn read(name: &str, mut fields: Vec<String>, files: Vec<Vec<&str>>) -> Result<Self, DataError> {
        let (mut groups, mut len) = (vec![], 0);
        for files in files {
            let texts = files.iter().map(|location| Text::read(location)).collect::<Result<Vec<_>, _>>()?;
            let lines = texts[0].starts.len();
            if let Some(other) = texts.iter().find(|text| text.starts.len() != lines) {
                let problem = format!(
                    "expected {lines} lines, as in {}; found {}; line i of one file belongs to line i of the other",
                    texts[0].location,
                    other.starts.len()
                );
                return Err(DataError::layout(&other.location, problem));
            }
            groups.push(Group { split: split_of(files[0]).to_string(), texts, start: len });
            len += lines;
        }
        if groups.iter().any(|group| !group.split.is_empty()) && !fields.iter().any(|field| field == "split")
        {
            fields.push("split".into());
        }
        Ok(Self { name: name.into(), fields, groups, len })
    }

    fn find(&self, row: usize) -> (&Group, usize) {
        let group = &self.groups[self.groups.partition_point(|group| group.start <= row).saturating_sub(1)];
        (group, row - group.start)
    }
}

impl Text {
    fn read(location: &str) -> Result<Self, DataError> {
        let text = read_text(location)?;
        let ends = text.match_indices('\n').map(|(at, _)| at + 1).filter(|start| *start < text.len());
        let starts = std::iter::once(0).chain(ends).collect();
        Ok(Self { location: location.into(), origin: origin(location), text, starts })
    }

    /// A line; `None` if it is empty.
    fn line(&self, number: usize) -> Option<&str> {
        let start = *self.starts.get(number)?;
        let end = self.starts.get(number + 1).copied().unwrap_or(self.text.len());
        let line = self.text.get(start..end)?.trim_end_matches(['\n', '\r']);
        (!line.is_empty()).then_some(line)
    }
}

impl Table for Lines {
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
        let number = self.fields.iter().position(|known| known == field);
        let number = number.ok_or_else(|| unknown_field(self, field))?;
        let (group, row) = self.find(row);
        let text = match group.texts.get(number) {
            Some(text) => text.line(row),
            None => Some(group.split.as_str()).filter(|split| !split.is_empty()),
        };
        Ok(text.map_or(Value::Missing, |text| Value::Text(text.into())))
    }

    fn location(&self, row: usize) -> String {
        let (group, row) = self.find(row);
        format!("{} line {}", group.texts[0].location, row + 1)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (group, row) = self.find(row);
        let origins: Option<Vec<&str>> = group.texts.iter().map(|text| text.origin.as_deref()).collect();
        Some(format!("{} line {row}", origins?.join(", ")))
    }
}
