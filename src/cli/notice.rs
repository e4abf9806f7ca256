//! Notices of the library, on standard error.

use super::data::Bar;
use super::print;
use crate::notice::Notice;
use crate::train::ranks::Launched;
use indicatif::HumanBytes;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Bytes of a download from which on its progress is shown.
const LARGE: u64 = 1 << 20;

/// Prints a note, or shows the progress of a download.
pub fn show(notice: Notice<'_>) {
    /// The download that is shown.
    static SHOWN: Mutex<Option<(String, Bar)>> = Mutex::new(None);
    match notice {
        // All ranks read the same data.
        Notice::Note(_) if !is_first_rank() => {}
        Notice::Note(text) => note(text),
        Notice::Download { total, .. } if total < LARGE => {}
        Notice::Download { location, done, total } => {
            let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
            let is_shown = shown.as_ref().is_some_and(|(known, _)| known == location);
            if done >= total {
                if let Some((_, bar)) = shown.take_if(|_| is_shown) {
                    bar.finish();
                }
                return;
            }
            if !is_shown {
                print::note(&format!("downloading {location}, {}", HumanBytes(total)));
                *shown = Some((location.to_string(), Bar::of_bytes(total)));
            }
            if let Some((_, bar)) = shown.as_mut() {
                bar.set(done);
            }
        }
    }
}

/// Prints a note, once in a process: the runs of a sweep have the same notes.
pub fn note(text: &str) {
    static PRINTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if PRINTED.lock().unwrap_or_else(PoisonError::into_inner).insert(text.into()) {
        print::note(&format!("note: {text}"));
    }
}

fn is_first_rank() -> bool {
    Launched::find().ok().flatten().is_none_or(|launched| launched.rank == 0)
}
