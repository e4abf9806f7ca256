//! The layouts that the names of a source's files suit best: their reasons matter if no layout fits.

use super::place::{extension, file_name};
use super::{Declined, Modality, Place, unread};
use crate::data::DataError;
use std::collections::BTreeMap;

/// The layouts of files with such a name, the likeliest first.
fn layouts(location: &str) -> &'static [&'static str] {
    let name = file_name(location);
    if name.contains("-ubyte") {
        return &["idx"];
    }
    if name.contains(".tfrecord") {
        return &["episodes"];
    }
    match (extension(location), Modality::by_name(location)) {
        ("csv", _) => &["rows", "episodes"],
        ("parquet", _) => &["parquet", "episodes"],
        ("arrow", _) => &["arrow"],
        ("tsv", _) => &["rows", "common_voice"],
        ("jsonl" | "ndjson", _) => &["rows", "nemo", "episodes"],
        ("npz" | "h5" | "hdf5", _) => &["episodes"],
        ("tar" | "tgz" | "zip", _) => &["webdataset", "folders"],
        ("txt", _) => &["text", "lines"],
        ("bin", _) => &["cifar"],
        (_, Some(Modality::Image)) => &["folders", "rows", "webdataset"],
        (_, Some(Modality::Audio)) => {
            &["folders", "rows", "librispeech", "ljspeech", "kaldi", "common_voice"]
        }
        _ => &[],
    }
}

/// A file of a source whose ending more of its files have than any other.
struct Typical {
    location: String,
    /// Its name in the folder or archive.
    name: String,
    /// Whether the source is this file.
    is_alone: bool,
    /// Whether more than half of the files have this ending.
    is_most: bool,
}

impl Typical {
    fn of(place: &Place) -> Option<Self> {
        let files = place.files().ok()?;
        let locations = match &files {
            Some(files) => files.list().to_vec(),
            None => place.locations().ok()?,
        };
        let is_alone = files.is_none() && !place.is_pattern();
        let mut endings: BTreeMap<&str, (usize, &String)> = BTreeMap::new();
        for location in &locations {
            endings.entry(extension(location)).or_insert((0, location)).0 += 1;
        }
        let (n, name) = endings.into_values().max_by_key(|(n, _)| *n)?;
        let location = files.as_ref().map_or_else(|| name.clone(), |files| files.location(name));
        Some(Self { location, name: name.clone(), is_alone, is_most: 2 * n > locations.len() })
    }
}

/// The layouts that state why they do not fit; those are near that the names of the files suit.
pub(super) fn marked(place: &Place, declined: Vec<(&'static str, String)>) -> Vec<Declined> {
    let near = Typical::of(place).map_or(&[][..], |typical| layouts(&typical.location));
    let mark = |(layout, reason)| Declined { layout, reason, is_near: near.contains(&layout) };
    declined.into_iter().map(mark).collect()
}

/// The error of a source in no layout, with the reason of the layout that the names of its files suit best.
pub(super) fn error(place: &Place, declined: Vec<(&'static str, String)>) -> DataError {
    let problem = Typical::of(place).map_or_else(
        || "it has no file".to_string(),
        |typical| {
            let near = layouts(&typical.location).iter();
            let reason = near.copied().find_map(|near| declined.iter().find(|(layout, _)| *layout == near));
            problem(&typical, reason)
        },
    );
    let named = format!("{{ path = {:?}, layout = \"NAME\" }}", place.path);
    DataError::layout(
        &place.path,
        format!(
            "it is in none of the known layouts: {problem}; files can be class folders, archives, tables (.csv, .tsv, \
             .jsonl, .parquet), .txt, IDX, CIFAR-10 or .npz; a source {named} has the layout of this name"
        ),
    )
}

/// What is wrong with a source, by a typical file and the reason of the nearest layout.
fn problem(typical: &Typical, nearest: Option<&(&'static str, String)>) -> String {
    let such_as = match (typical.is_alone, typical.is_most) {
        (true, _) => "it".to_string(),
        (false, true) => format!("{}, as most of its files,", typical.name),
        (false, false) => format!("its file {}", typical.name),
    };
    if let Some((what, instead)) = unread::form(&typical.location) {
        return format!("{such_as} is {what}; {instead}");
    }
    let alone = match Modality::by_name(&typical.location).filter(|_| typical.is_alone) {
        Some(Modality::Image) => {
            Some("one image; name the folder of the images, or a table of files and labels")
        }
        Some(Modality::Audio) => {
            Some("one clip; name the folder of the clips, or a table of files and texts")
        }
        _ => None,
    };
    if let Some(alone) = alone {
        return format!("it is {alone}");
    }
    if let Some((layout, reason)) = nearest {
        return format!("the nearest is {layout}, but {reason}");
    }
    if let Some(modality) = Modality::by_name(&typical.location) {
        let modality = modality.name();
        return format!(
            "{such_as} is of modality {modality}, but names and places of its files fit no layout"
        );
    }
    let (what, instead) = unread::content(&typical.location);
    format!("{such_as} is {what}; {instead}")
}
