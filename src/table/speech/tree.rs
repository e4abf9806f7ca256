//! The recordings and other files of a tree.

use crate::data::Files;
use crate::table::Modality;
use crate::table::place::file_name;

/// Endings of recordings, the usual ones first.
const ENDINGS: [&str; 6] = ["flac", "wav", "mp3", "ogg", "m4a", "aac"];

/// The path of a recording in a tree, whose name has no ending; if there is none, with the usual ending, for the message of the
/// row that reads it.
pub(super) fn recording(tree: &Files, name: &str, usual: &str) -> String {
    if is_audio(name) && tree.contains(name) {
        return name.to_string();
    }
    let mut paths = std::iter::once(usual).chain(ENDINGS).map(|ending| format!("{name}.{ending}"));
    paths.find(|path| tree.contains(path)).unwrap_or_else(|| format!("{name}.{usual}"))
}

/// The files of a tree that a layout does not use, each with the reason.
pub(super) fn skipped(tree: &Files, is_used: impl Fn(&str) -> bool) -> Vec<(String, &'static str)> {
    let why = |path: &str| if is_audio(path) { "no transcript names it" } else { "not part of the layout" };
    let unreadable = tree.skipped().iter().map(|(path, why)| (tree.location(path), *why));
    let unused = tree.list().iter().filter(|path| !is_used(path));
    unreadable.chain(unused.map(|path| (tree.location(path), why(path)))).collect()
}

/// Whether a path has the ending of a recording.
pub(super) fn is_audio(path: &str) -> bool {
    Modality::by_name(path) == Some(Modality::Audio)
}

/// Whether a tree has a file below this folder.
pub(super) fn has_folder(tree: &Files, folder: &str) -> bool {
    let folder = format!("{folder}/");
    let first = tree.list().partition_point(|path| *path < folder);
    tree.list().get(first).is_some_and(|path| path.starts_with(&folder))
}

/// The folder of a location, with its last slash; empty if there is none.
pub(super) fn folder(location: &str) -> &str {
    location.strip_suffix(file_name(location)).unwrap_or_default()
}
