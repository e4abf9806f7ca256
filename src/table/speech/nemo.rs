//! NeMo's manifests: JSON lines with `audio_filepath`, `text` and `duration`, and an `offset` if clips are parts of recordings.

use super::parsing::{add_split, first_line, rename_to_audio};
use super::{Recordings, by_folder, none};
use crate::data::{DataError, read_text};
use crate::table::place::{extension, file_name, origin};
use crate::table::rows::{ParsedFile, json_lines};
use crate::table::{Place, Table};
use std::sync::Arc;

/// The layout's name.
pub(super) const NAME: &str = "nemo";
/// The key of paths.
const PATH: &str = "audio_filepath";

/// Opens a manifest, or the manifests of a pattern. All keys are fields; `audio_filepath` is `audio`. Paths are relative to the
/// manifest or to a folder above it.
///
/// # Errors
/// [`DataError`] for a manifest that cannot be read.
pub(super) fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let expected = "JSON lines with the key audio_filepath";
    if place.files()?.is_some() {
        return none(place, NAME, expected);
    }
    let locations = place.locations()?;
    let is_json = |location: &String| ["json", "jsonl", "ndjson"].contains(&extension(location));
    let Some(first) = locations.first().filter(|_| locations.iter().all(is_json)) else {
        return none(place, NAME, expected);
    };
    if !place.is_requested(NAME) && !first_line(first)?.contains(&format!("{PATH:?}")) {
        return none(place, NAME, expected);
    }
    place.refuse_columns(NAME)?;
    place.because(format!("it has {expected}"));
    let parsed = locations.into_iter().map(clips).collect::<Result<_, _>>()?;
    by_folder(place, parsed, Recordings::around).map(Some)
}

/// The clips of one manifest.
fn clips(location: String) -> Result<ParsedFile, DataError> {
    let mut table = json_lines(&location, &read_text(&location)?)?;
    rename_to_audio(&mut table, &location, PATH)?;
    add_split(&mut table, file_name(&location));
    Ok(ParsedFile { origin: origin(&location), location, table })
}
