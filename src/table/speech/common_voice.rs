//! Common Voice: `train.tsv`, `dev.tsv` and `test.tsv`, whose column `path` names clips in `clips/` beside them.

use super::parsing::first_line;
use super::tree::{folder, has_folder, is_audio, skipped};
use super::{Naming, Recordings, TEXT, none, of_tables};
use crate::data::{DataError, Files};
use crate::table::place::{extension, file_name};
use crate::table::{self, Place, Table};
use std::sync::Arc;

/// The layout's name.
pub(super) const NAME: &str = "common_voice";
/// The tables of a release that are read.
const SPLITS: [&str; 3] = ["train.tsv", "dev.tsv", "test.tsv"];
/// The tables with the same clips once more, and with clips that were rejected or not rated.
const OTHERS: [&str; 3] = ["validated.tsv", "invalidated.tsv", "other.tsv"];
/// The column of paths.
const PATH: &str = "path";
/// The column of transcripts.
const SENTENCE: &str = "sentence";

/// Opens a table of a release, a pattern of them, or a folder or archive with `clips/` and the tables of splits. All columns
/// are fields; `path` is `audio`, and `text` another name of `sentence`.
///
/// # Errors
/// [`DataError`] for tables that cannot be read.
pub(super) fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let expected = "train.tsv, dev.tsv or test.tsv beside the folder clips";
    let tree = place.files()?;
    let locations: Vec<String> = match &tree {
        Some(files) => {
            let read = files.list().iter().filter(|path| is_read(files, path));
            read.map(|path| files.location(path)).collect()
        }
        None => place.locations()?,
    };
    let is_table = |location: &String| extension(location) == "tsv";
    let Some(first) = locations.first().filter(|_| locations.iter().all(is_table)) else {
        return none(place, NAME, expected);
    };
    if !place.is_requested(NAME) && !is_release(first)? {
        return place.decline("its tables lack the columns client_id, path and sentence");
    }
    place.refuse_columns(NAME)?;
    place.because("it has tables with the columns client_id, path and sentence beside clips");
    let skipped = tree.map_or(vec![], |files| unread(&files));
    let naming = Naming { field: PATH, folder: "clips/", recordings: Recordings::below };
    // Sentences and paths of digits alone are texts, too.
    let clips = of_tables(place, locations, &[PATH, SENTENCE], naming, skipped)?;
    table::alias(clips, vec![(TEXT.into(), SENTENCE.into())]).map(Some)
}

/// Whether a path of a tree is the table of a split beside clips.
fn is_read(files: &Files, path: &str) -> bool {
    let has = |clips: &str| has_folder(files, clips) || files.contains(&format!("{clips}.tar"));
    SPLITS.contains(&file_name(path)) && has(&format!("{}clips", folder(path)))
}

/// The files of a tree that are not read.
fn unread(files: &Files) -> Vec<(String, &'static str)> {
    let is_clips = |path: &str| is_audio(path) || file_name(path) == "clips.tar";
    let mut skipped = skipped(files, |path| is_clips(path) || is_read(files, path));
    for (location, why) in &mut skipped {
        if OTHERS.contains(&file_name(location)) {
            *why = "read only if the path names it";
        }
    }
    skipped
}

/// Whether a table has the columns of a release.
fn is_release(location: &str) -> Result<bool, DataError> {
    let header = first_line(location)?;
    Ok(["client_id", PATH, SENTENCE].iter().all(|column| header.split('\t').any(|name| name == *column)))
}
