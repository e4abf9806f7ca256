//! An event file: a TFRecord for each event.

use super::message::{Event, START, SessionLog, Summary, SummaryValue, What};
use crate::train::SaveError;
use crc_fast::{CrcAlgorithm, checksum};
use prost::Message;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The beginning of the names of event files, by which TensorBoard finds them.
const PREFIX: &str = "events.out.tfevents.";

/// An event file, which is created with its first event.
pub(super) struct EventFile {
    folder: PathBuf,
    /// The step after the last checkpoint, with which the events begin.
    first: u64,
    open: Option<(PathBuf, File)>,
}

impl EventFile {
    /// A file in this folder for steps from `first` on. Readers drop events of these steps in earlier files.
    pub(super) fn new(folder: &Path, first: u64) -> Self {
        Self { folder: folder.into(), first, open: None }
    }

    /// Writes values at a step.
    ///
    /// # Errors
    /// [`SaveError::Write`], which names the file.
    pub(super) fn write(&mut self, step: u64, value: Vec<SummaryValue>) -> Result<(), SaveError> {
        let (path, mut file) = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let record = record(&event(step, What::Summary(Summary { value })));
        file.write_all(&record).map_err(|source| SaveError::Write { path: path.clone(), source })?;
        self.open = Some((path, file));
        Ok(())
    }

    fn create(&self) -> Result<(PathBuf, File), SaveError> {
        let failed = |path: &Path, source| SaveError::Write { path: path.into(), source };
        fs::create_dir_all(&self.folder).map_err(|source| failed(&self.folder, source))?;
        let time = self.next_time().map_err(|source| failed(&self.folder, source))?;
        let path = self.folder.join(format!("{PREFIX}{time:010}.smalti"));
        let create = || {
            let mut file = File::create_new(&path)?;
            let start = What::SessionLog(SessionLog { status: START });
            for (step, what) in [(0, What::FileVersion("brain.Event:2".into())), (self.first, start)] {
                file.write_all(&record(&event(step, what)))?;
            }
            Ok(file)
        };
        let file = create().map_err(|source| failed(&path, source))?;
        Ok((path, file))
    }

    /// The time in the name of a new file, in seconds: after all others, because readers take files in the order of names.
    fn next_time(&self) -> std::io::Result<u64> {
        let mut next = seconds() as u64;
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(PREFIX).and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
            next = next.max(time.map_or(0, |time| time.saturating_add(1)));
        }
        Ok(next)
    }
}

/// Seconds since 1970.
fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The bytes of an event of now.
fn event(step: u64, what: What) -> Vec<u8> {
    Event { wall_time: seconds(), step: step as i64, what: Some(what) }.encode_to_vec()
}

/// A TFRecord: the data between their length and a checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), data, &masked(data).to_le_bytes()].concat()
}

/// CRC-32C (Castagnoli), rotated and shifted as TensorFlow stores it.
fn masked(bytes: &[u8]) -> u32 {
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tensorboard::message::Value;

    #[test]
    fn a_file_is_created_with_its_first_event_and_after_all_others() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("events");
        let values = || vec![SummaryValue { tag: "loss".into(), value: Some(Value::Scalar(1.0)) }];
        let mut first = EventFile::new(&folder, 1);
        assert!(!folder.exists());
        first.write(1, values()).unwrap();
        EventFile::new(&folder, 2).write(2, values()).unwrap();
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 2, "{names:?}");
        let second = fs::read(folder.join(&names[1])).unwrap();
        let start = record(&event(2, What::SessionLog(SessionLog { status: START })));
        assert!(
            second.windows(6).any(|bytes| bytes == &start[12 + 9..][..6]),
            "the second file begins at step 2"
        );
    }

    #[test]
    fn a_record_lies_between_its_length_and_its_checksum() {
        // CRC-32C of 32 zeros (RFC 3720, B.4) is 0x8a9136aa.
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
        let record = record(b"record");
        assert_eq!((record.len(), record[0], &record[12..18]), (22, 6, &b"record"[..]));
    }
}
