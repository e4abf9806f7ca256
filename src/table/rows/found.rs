//! The files of rows at a source's path.

use super::NAME;
use super::beside::{Beside, column, names_most, packed_folder};
use super::kind::names_files;
use super::records::{Contents, Records};
use crate::data::files::join;
use crate::data::{DataError, Files, open_text};
use crate::table::place::{
    describes, extension, file_name, has_rows_of_files, is_archive, split_in_tree, split_of_table,
    split_word, top_folder,
};
use crate::table::{Modality, Place};
use std::io::Read;
use std::sync::Arc;

/// The start of the name of a table of the files beside it.
const METADATA: &str = "metadata.";
/// The extensions of tables.
const EXTENSIONS: [&str; 4] = ["tsv", "csv", "jsonl", "ndjson"];
/// The start of the name of a Kaggle competition's example of a solution.
const EXAMPLE: &str = "sample_submission";
/// Bytes of a table that are searched for the name of its field of files.
const HEADER: u64 = 1 << 16;

/// The files of rows of a source.
#[derive(Default)]
pub struct Found {
    /// The locations of the files.
    pub locations: Vec<String>,
    /// The split of each file; none if the rows get no field `split`.
    pub splits: Option<Vec<String>>,
    /// The folder or archive that they are in, whose other images and clips are skipped.
    pub tree: Option<Arc<Files>>,
    /// Whether the values of columns may name files without saying so.
    pub may_name_files: bool,
}

/// Whether a location has the extension of a table.
pub fn is_table(location: &str) -> bool {
    EXTENSIONS.contains(&extension(location))
}

/// The files of rows at a source's path; none, and the reason, if it is no source of rows.
///
/// # Errors
/// [`DataError::Layout`] if the settings name the layout and no file is a table, and if several could be meant.
pub fn found(place: &Place) -> Result<Option<Found>, DataError> {
    let none = |reason: String| match place.is_requested(NAME) {
        true => {
            let problem = format!("expected a table; its name must end in .{}", EXTENSIONS.join(", ."));
            Err(DataError::layout(&place.path, problem))
        }
        false => {
            place.because(reason);
            Ok(None)
        }
    };
    if let Some(files) = place.files()? {
        return match in_tree(place, &files)? {
            Some(found) => Ok(Some(found)),
            None => none(no_tables(&files)),
        };
    }
    let locations = place.locations()?;
    if locations.is_empty() || !locations.iter().all(|location| is_table(location)) {
        return none("its name is not that of a table (.csv, .tsv, .jsonl, .parquet)".into());
    }
    place.because(format!("it is a table by its name, {}", file_name(&locations[0])));
    let splits = place.is_pattern().then(|| named_splits(&locations));
    Ok(Some(Found { locations, splits, tree: None, may_name_files: true }))
}

/// The reason why a folder or archive is no source of rows: that of a table beside images or clips, if there is one.
fn no_tables(files: &Files) -> String {
    let of_table = |path: &String| Some(format!("its {path} names no files: {}", names_none(path)?));
    let tables = || files.list().iter().filter(|path| is_table(path));
    let found = holds_media(files).then(|| tables().find_map(of_table)).flatten();
    found.unwrap_or_else(|| {
        "it has no manifest, no metadata.csv, no table of its files, and files other than tables".into()
    })
}

/// The reason why a table beside images or clips is not read as a list of them; `None` for any other file.
pub fn names_none(path: &str) -> Option<&'static str> {
    match extension(path) {
        "jsonl" | "ndjson" if file_name(path).starts_with(METADATA) => {
            Some("its first line has no key file_name")
        }
        "jsonl" | "ndjson" => Some("in JSON lines, metadata.jsonl names files, by the key file_name"),
        "csv" | "tsv" => Some("no column names the files"),
        "parquet" => Some("in Parquet, metadata.parquet names files, by the column file_name"),
        _ => None,
    }
}

/// The splits by the names of tables.
fn named_splits(locations: &[String]) -> Vec<String> {
    locations.iter().map(|location| split_of_table(location).to_string()).collect()
}

/// The tables of a folder or archive: its manifest, its `metadata.*`, tables whose values name images and clips in it, or all of
/// a folder or archive of tables and their descriptions only. A folder that all files are in is entered.
fn in_tree(place: &Place, files: &Arc<Files>) -> Result<Option<Found>, DataError> {
    let of = |paths: &[&str], splits: Option<Vec<String>>, may_name_files: bool| {
        let locations = paths.iter().map(|path| files.location(path)).collect();
        Some(Found { locations, splits, tree: Some(files.clone()), may_name_files })
    };
    let tables: Vec<&str> = files.list().iter().map(String::as_str).filter(|path| is_table(path)).collect();
    let top = top_folder(files.list().iter().map(String::as_str).filter(|path| !describes(path)));
    let at_top = |path: &str| path.strip_prefix(top).is_some_and(|name| !name.contains('/'));
    let is_manifest = |path: &&&str| at_top(path) && file_name(path).starts_with("manifest.");
    let manifests: Vec<&str> = tables.iter().filter(is_manifest).copied().collect();
    match manifests[..] {
        [manifest] => {
            place.because(format!("it has {manifest}"));
            return Ok(of(&manifests, None, true));
        }
        [] => {}
        _ => return Err(several(files, "manifest", &manifests)),
    }
    let metadata = metadata(files, &tables)?;
    if let Some(first) = metadata.first() {
        place.because(format!("it has {first}, which names files"));
        let splits: Vec<Option<&str>> = metadata.iter().map(|path| split_in_tree(path)).collect();
        let has_splits = splits.iter().any(Option::is_some);
        let splits = splits.into_iter().map(|split| split.unwrap_or_default().to_string());
        return Ok(of(&metadata, has_splits.then(|| splits.collect()), false));
    }
    let naming = naming(files, tables.iter().copied().filter(|path| at_top(path)))?;
    if let Some(first) = naming.first() {
        place.because(format!("the values of a column of {first} name files in it"));
        let splits = (naming.len() > 1)
            .then(|| named_splits(&naming.iter().map(|path| path.to_string()).collect::<Vec<_>>()));
        return Ok(of(&naming, splits, true));
    }
    let only_tables = files.list().iter().all(|path| is_table(path) || describes(path));
    if tables.is_empty() || !only_tables || is_archive(files.name()) && has_rows_of_files(files) {
        return Ok(None);
    }
    place.because("it is a folder of tables");
    let splits = (tables.len() > 1)
        .then(|| named_splits(&tables.iter().map(|path| files.location(path)).collect::<Vec<_>>()));
    Ok(of(&tables, splits, true))
}

fn several(files: &Files, kind: &str, names: &[&str]) -> DataError {
    let problem =
        format!("expected one {kind}; found {}; name one of them", smalti_contract::listed(names, ", "));
    DataError::layout(files.name(), problem)
}

/// The files `metadata.*` that have the field `file_name`, one in a folder: those of the layouts `imagefolder` and
/// `audiofolder` of Hugging Face's `datasets`.
fn metadata<'a>(files: &Files, tables: &[&'a str]) -> Result<Vec<&'a str>, DataError> {
    let mut found: Vec<&str> = vec![];
    for path in tables.iter().copied().filter(|path| file_name(path).starts_with(METADATA)) {
        let folder = |path: &'a str| path.rsplit_once('/').map_or("", |(folder, _)| folder);
        // The columns of Parquet are not read for this.
        let has_file_names = match extension(path) {
            "parquet" => holds_media(files),
            _ => has_file_names(&files.location(path))?,
        };
        if !has_file_names {
            continue;
        }
        if let Some(other) = found.iter().find(|other| folder(other) == folder(path)) {
            return Err(several(files, "metadata file in a folder", &[other, path]));
        }
        found.push(path);
    }
    Ok(found)
}

fn holds_media(files: &Files) -> bool {
    let is_media = |path: &String| matches!(Modality::by_name(path), Some(Modality::Image | Modality::Audio));
    files.list().iter().any(is_media)
}

/// Whether a text of rows has the field `file_name`, by its first line.
fn has_file_names(location: &str) -> Result<bool, DataError> {
    let mut start = vec![];
    let read = open_text(location)?.take(HEADER).read_to_end(&mut start);
    read.map_err(|e| DataError::io(location, "a table", e))?;
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(header).contains("file_name"))
}

/// Those of the tables at the top of a tree whose values name images or clips in it: one, or one for each split.
fn naming<'a>(files: &Files, tables: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, DataError> {
    let is_packed = |path: &String| packed_folder(file_name(path)).is_some();
    if !holds_media(files) && !files.list().iter().any(is_packed) {
        return Ok(vec![]);
    }
    let mut beside = Beside::default();
    let mut found = vec![];
    for path in tables.filter(|path| !file_name(path).starts_with(EXAMPLE)) {
        let location = files.location(path);
        if !["csv", "tsv"].contains(&extension(path)) {
            continue;
        }
        let (_, contents) = Records::open(&location, None, true)?;
        if beside.find(&location, &contents)?.is_some() || has_paths(files, path, &contents) {
            found.push(path);
        }
    }
    let are_splits = found.iter().all(|path| split_word(split_of_table(path)).is_some());
    match found.len() > 1 && !are_splits {
        true => Err(several(files, "table of images or clips", &found)),
        false => Ok(found),
    }
}

/// Whether most values of a field of paths, such as `path`, name files of the tree.
fn has_paths(files: &Files, table: &str, contents: &Contents) -> bool {
    let folder = table.strip_suffix(file_name(table)).unwrap_or_default();
    let mut fields = contents.fields.keys().enumerate();
    fields.any(|(number, field)| {
        names_files(field)
            && names_most(&column(contents, number), |path| files.contains(&join(folder, path)))
    })
}
