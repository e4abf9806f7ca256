//! Notices to the user of a program: the library itself prints nothing.

use std::sync::OnceLock;

/// What a user should know of the data: choices that follow from it, downloads.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A note, as one line.
    Note(&'a str),
    /// The state of a download.
    Download {
        /// The location of the file.
        location: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 if that is not known.
        total: u64,
    },
}

static OBSERVER: OnceLock<fn(Notice<'_>)> = OnceLock::new();

/// Sets the function that gets all notices of this process; only the first call has an effect.
pub fn on_notice(observer: fn(Notice<'_>)) {
    let _ = OBSERVER.set(observer);
}

/// Passes a notice to the observer, if there is one.
pub(crate) fn notify(notice: Notice<'_>) {
    if let Some(observer) = OBSERVER.get() {
        observer(notice);
    }
}
