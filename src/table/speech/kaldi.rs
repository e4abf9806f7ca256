//! Kaldi's data folders: `wav.scp`, `text`, and, if there are any, `segments`, `utt2spk` and `spk2gender`.

use super::lists::{self, List};
use super::parsing::{Lines, lines, split_in};
use super::tree::{folder, is_audio, skipped};
use super::{AUDIO, Cut, DURATION, ID, Naming, OFFSET, Recordings, SPEAKER, SPLIT, TEXT, by_folder, none};
use crate::data::{DataError, Files};
use crate::table::place::file_name;
use crate::table::{Place, Table};
use indexmap::IndexMap;
use smalti_contract::Value;
use std::iter::repeat_n;
use std::sync::Arc;

/// The layout's name.
pub(super) const NAME: &str = "kaldi";
/// Recordings: an id and a path.
const RECORDINGS: &str = "wav.scp";
/// Utterances that are parts of recordings: an id, a recording's id, start and end in seconds.
const SEGMENTS: &str = "segments";
/// Utterances and their transcripts.
const TEXTS: &str = "text";
/// Utterances and their speakers.
const SPEAKERS: &str = "utt2spk";
/// Speakers and their genders.
const GENDERS: &str = "spk2gender";
const READ: [&str; 5] = [RECORDINGS, SEGMENTS, TEXTS, SPEAKERS, GENDERS];

/// The recording of each utterance, and the part of it if there are segments.
type Utterances = IndexMap<String, (String, Option<Cut>)>;

/// Opens a data folder, or a folder or archive of them. Paths of recordings are relative to the data folder or to a folder
/// above it, also with the place of a WAV file in an archive, `wav.ark:17`; commands are not run. `split` is the split that the
/// name of a data folder begins with.
///
/// # Errors
/// [`DataError`] for files that cannot be read or do not belong together, and for a recording that is a command.
pub(super) fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let expected = "a folder with the file wav.scp";
    let Some(files) = place.files()? else { return none(place, NAME, expected) };
    let is_list = |path: &&String| file_name(path) == RECORDINGS;
    let folders: Vec<&str> = files.list().iter().filter(is_list).map(|path| folder(path)).collect();
    if folders.is_empty() {
        return none(place, NAME, expected);
    }
    place.refuse_columns(NAME)?;
    place.because(format!("it has {expected}"));
    let of_folder = |folder: &&str| Ok((files.location(folder), utterances(&files, folder)?));
    let lists = folders.iter().map(of_folder).collect::<Result<Vec<_>, DataError>>()?;
    let is_read = |path: &str| READ.contains(&file_name(path)) && folders.contains(&folder(path));
    let skipped = skipped(&files, |path| is_audio(path) || is_read(path));
    let naming = Naming { field: AUDIO, folder: "", recordings: Recordings::around };
    by_folder(place, lists, lists::table, naming, skipped).map(Some)
}

/// The utterances of a data folder.
fn utterances(files: &Files, folder: &str) -> Result<List, DataError> {
    let path = |name: &str| format!("{folder}{name}");
    let location = |name: &str| files.location(&path(name));
    let read = |name: &str| match files.contains(&path(name)) {
        true => lines(files, &path(name)).map(Some),
        false => Ok(None),
    };
    let recordings = read(RECORDINGS)?.unwrap_or_default();
    check_recordings(&location(RECORDINGS), &recordings)?;
    let (listed, utterances) = match read(SEGMENTS)? {
        Some(lines) => (SEGMENTS, segments(&location(SEGMENTS), lines, &recordings)?),
        None => (RECORDINGS, recordings.into_iter().map(|(id, path)| (id, (path, None))).collect()),
    };
    let (texts, speakers, genders) = (read(TEXTS)?, read(SPEAKERS)?, read(GENDERS)?);
    let ids = || utterances.keys().map(String::as_str);
    let origins =
        READ.map(path).into_iter().filter(|path| files.contains(path)).map(|path| files.origin(&path));
    let origin = origins.collect::<Option<Vec<_>>>().map(|origins| origins.join(", "));
    let mut list = List::new(location(listed), origin, utterances.len());
    list.add_texts(AUDIO, utterances.values().map(|(recording, _)| recording.as_str()));
    if let Some(texts) = &texts {
        check_texts(&location(TEXTS), texts, &utterances, listed)?;
        list.add_texts(TEXT, ids().map(|id| value_of(texts, id)));
    }
    if let Some(speakers) = &speakers {
        list.add_texts(SPEAKER, ids().map(|id| value_of(speakers, id)));
        if let Some(genders) = &genders {
            list.add_texts("gender", ids().map(|id| value_of(genders, value_of(speakers, id))));
        }
    }
    list.add_texts(ID, ids());
    if listed == SEGMENTS {
        let cuts = || utterances.values().map(|(_, cut)| *cut);
        list.add(OFFSET, cuts().map(|cut| number(cut.map(|cut| cut.offset))));
        list.add(DURATION, cuts().map(|cut| number(cut.and_then(|cut| cut.duration))));
    }
    if let Some(split) = split_in(file_name(location("").trim_end_matches('/'))) {
        list.add_texts(SPLIT, repeat_n(split, utterances.len()));
    }
    Ok(list)
}

/// The value of an id; empty if there is none.
fn value_of<'a>(lines: &'a Lines, id: &str) -> &'a str {
    lines.get(id).map_or("", String::as_str)
}

fn number(number: Option<f64>) -> Value {
    number.map_or(Value::Missing, Value::Number)
}

/// Checks that recordings are files, not commands.
fn check_recordings(location: &str, recordings: &Lines) -> Result<(), DataError> {
    for (number, (id, path)) in (1..).zip(recordings) {
        let found = if path.is_empty() {
            "nothing".to_string()
        } else if path.starts_with('|') || path.ends_with('|') {
            format!("the command {path:?}, and commands in data are never run")
        } else {
            continue;
        };
        let problem = format!(
            "line {number}: expected the path of a recording for {id:?}; found {found}; write the recordings to WAV or FLAC \
             files and name these"
        );
        return Err(DataError::format(location, "a list of recordings", problem));
    }
    Ok(())
}

/// The utterances of a file of segments. An end below 0 is the end of the recording.
fn segments(location: &str, lines: Lines, recordings: &Lines) -> Result<Utterances, DataError> {
    let mut utterances = Utterances::new();
    for (number, (id, line)) in (1..).zip(lines) {
        let refuse = |problem: String| {
            Err(DataError::format(location, "segments", format!("line {number}: {problem}")))
        };
        let parts: Vec<&str> = line.split_whitespace().collect();
        let [recording, start, end] = parts[..] else {
            return refuse(format!(
                "expected an id, a recording, a start and an end; found {id:?} and {line:?}"
            ));
        };
        let Some(path) = recordings.get(recording) else {
            return refuse(format!("expected a recording of {RECORDINGS}; found {recording:?}"));
        };
        let seconds = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
        let (offset, stop) = (seconds(start), seconds(end));
        let duration = if stop < 0.0 { None } else { Some(stop - offset) };
        let cut = Cut { offset, duration };
        if !cut.is_valid() {
            return refuse(format!("expected a start and a later end in seconds; found {start} and {end}"));
        }
        utterances.insert(id, (path.clone(), Some(cut)));
    }
    Ok(utterances)
}

/// Checks that each transcript has a recording.
fn check_texts(
    location: &str,
    texts: &Lines,
    utterances: &Utterances,
    listed: &str,
) -> Result<(), DataError> {
    match (1..).zip(texts.keys()).find(|(_, id)| !utterances.contains_key(*id)) {
        None => Ok(()),
        Some((number, id)) => {
            let problem = format!(
                "line {number}: expected an utterance of {listed}; found {id:?}; Kaldi's utils/fix_data_dir.sh removes such \
                 lines"
            );
            Err(DataError::format(location, "transcripts", problem))
        }
    }
}
