//! NeMo's manifests: JSON lines with `audio_filepath`, `text` and `duration`, and an `offset` if clips are parts of recordings.

use super::parsing::first_line;
use super::{Naming, Recordings, none, of_tables};
use crate::data::DataError;
use crate::table::place::extension;
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
    let naming = Naming { field: PATH, folder: "", recordings: Recordings::around };
    of_tables(place, locations, &[PATH], naming, vec![]).map(Some)
}
