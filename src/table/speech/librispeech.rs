//! LibriSpeech: the file `84-121123.trans.txt` has a line `84-121123-0000 GO DO YOU HEAR` for each clip beside it.

use super::lists::List;
use super::parsing::{lines, split_in};
use super::tree::{folder, is_audio, recording};
use super::{AUDIO, ID, SPEAKER, SPLIT, TEXT, in_tree, none};
use crate::data::{DataError, Files};
use crate::table::place::file_name;
use crate::table::{Place, Table};
use std::iter::{once, repeat_n};
use std::sync::Arc;

/// The layout's name.
pub(super) const NAME: &str = "librispeech";
const TRANSCRIPTS: &str = ".trans.txt";

/// Opens a folder or archive of clips and transcripts at any depth. The name of the folder `dev-clean` is the field `subset`,
/// its split, `validation`, the field `split`.
///
/// # Errors
/// [`DataError`] for transcripts that cannot be read.
pub(super) fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let expected = "clips and their transcripts, such as 84-121123.trans.txt beside 84-121123-0000.flac";
    let Some(files) = place.files()? else { return none(place, NAME, expected) };
    let transcripts: Vec<&String> = files.list().iter().filter(|path| path.ends_with(TRANSCRIPTS)).collect();
    if transcripts.is_empty() || !files.list().iter().any(|path| is_audio(path)) {
        return none(place, NAME, expected);
    }
    place.refuse_columns(NAME)?;
    place.because(format!("it has clips and their transcripts, such as {}", transcripts[0]));
    let chapters = transcripts.iter().map(|path| chapter(&files, path)).collect::<Result<_, _>>()?;
    in_tree(&files, chapters, |path| path.ends_with(TRANSCRIPTS))
}

/// The clips of one file of transcripts.
fn chapter(files: &Files, path: &str) -> Result<List, DataError> {
    let lines = lines(files, path)?;
    let clips: Vec<String> =
        lines.keys().map(|id| recording(files, &format!("{}{id}", folder(path)), "flac")).collect();
    let name = file_name(path).strip_suffix(TRANSCRIPTS).unwrap_or_default();
    let (speaker, chapter) = name.split_once('-').unwrap_or((name, ""));
    let rows = lines.len();
    let mut list = List::new(files.location(path), files.origin(path), rows);
    list.add_texts(AUDIO, clips.iter().map(String::as_str));
    list.add_texts(TEXT, lines.values().map(String::as_str));
    list.add_texts(SPEAKER, repeat_n(speaker, rows));
    list.add_texts("chapter", repeat_n(chapter, rows));
    list.add_texts(ID, lines.keys().map(String::as_str));
    if let Some(subset) = subset(files.name(), path) {
        list.add_texts("subset", repeat_n(subset, rows));
        list.add_texts(SPLIT, repeat_n(split_in(subset).unwrap_or_default(), rows));
    }
    Ok(list)
}

/// The nearest folder of a path, or else the tree, whose name begins with a split.
fn subset<'a>(tree: &'a str, path: &'a str) -> Option<&'a str> {
    let tree = file_name(tree.trim_end_matches('/')).trim_end_matches(".tar");
    let mut folders = folder(path).trim_end_matches('/').rsplit('/').chain(once(tree));
    folders.find(|name| split_in(name).is_some())
}
