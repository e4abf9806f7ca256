//! LJ Speech: `metadata.csv` has a line `LJ001-0001|raw text|normalized text`, or without the last, for each clip in `wavs/`.

use super::lists::List;
use super::parsing::first_line;
use super::tree::{folder, has_folder, recording};
use super::{AUDIO, ID, TEXT, in_tree, none};
use crate::data::{DataError, Files, files};
use crate::table::place::file_name;
use crate::table::{Place, Table};
use std::sync::Arc;

/// The layout's name.
pub(super) const NAME: &str = "ljspeech";
const METADATA: &str = "metadata.csv";

/// Opens a folder or archive with `metadata.csv` and `wavs/`, or of several such folders.
///
/// # Errors
/// [`DataError`] for a `metadata.csv` that cannot be read.
pub(super) fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let expected = "metadata.csv with lines such as LJ001-0001|text beside the folder wavs";
    let Some(tree) = place.files()? else { return none(place, NAME, expected) };
    let is_metadata =
        |path: &str| file_name(path) == METADATA && has_folder(&tree, &format!("{}wavs", folder(path)));
    let found: Vec<&String> = tree.list().iter().filter(|path| is_metadata(path)).collect();
    let Some(first) = found.first() else { return none(place, NAME, expected) };
    if !place.is_requested(NAME) && !first_line(&tree.location(first))?.contains('|') {
        return none(place, NAME, expected);
    }
    place.refuse_columns(NAME)?;
    place.because(format!("it has {expected}"));
    let parsed = found.iter().map(|path| clips(&tree, path)).collect::<Result<_, _>>()?;
    in_tree(&tree, parsed, is_metadata)
}

/// The clips of one `metadata.csv`.
fn clips(tree: &Files, path: &str) -> Result<List, DataError> {
    let location = tree.location(path);
    let text = files::text(&location, tree.read(path)?)?;
    let (mut ids, mut raw, mut texts, mut recordings) = (vec![], vec![], vec![], vec![]);
    for (number, line) in (1..).zip(text.trim_end().lines()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let (id, written, normalized) = match columns[..] {
            [id, written] if !id.is_empty() => (id, written, ""),
            [id, written, normalized] if !id.is_empty() => (id, written, normalized),
            _ => {
                let problem = format!(
                    "line {number}: expected id|text or id|text|normalized text; found {} fields",
                    columns.len()
                );
                return Err(DataError::format(&location, "metadata of LJ Speech", problem));
            }
        };
        ids.push(id);
        raw.push(written);
        texts.push(if normalized.is_empty() { written } else { normalized });
        recordings.push(recording(tree, &format!("{}wavs/{id}", folder(path)), "wav"));
    }
    let mut list = List::new(location, tree.origin(path), ids.len());
    list.add_texts(AUDIO, recordings.iter().map(String::as_str));
    list.add_texts(TEXT, texts.into_iter());
    list.add_texts("raw_text", raw.into_iter());
    list.add_texts(ID, ids.into_iter());
    Ok(list)
}
