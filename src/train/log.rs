//! `metrics.jsonl`: one JSON object per line, each with its `step` and, but for the last, the `seconds` of the training so far.

use super::SaveError;
use super::checkpoint::{finish, unfinished};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

/// The file's name in a run folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The key of the last line of a training that was not stopped: why it [ended](super::End).
pub const END: &str = "end";

/// The key of the seconds of a training up to a line, over all parts of a training that was resumed.
pub const SECONDS: &str = "seconds";

/// The metrics file of a run, open for appending.
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    opened: Instant,
    /// The seconds of the earlier parts of the training.
    seconds_before: f64,
}

impl MetricsLog {
    /// Opens the metrics file of a run folder for steps after `step`, and removes the lines of later steps, which a killed run
    /// wrote after its last checkpoint, and the line that an earlier part of the training ended.
    ///
    /// # Errors
    /// [`SaveError`], which names the file.
    pub fn open(folder: &Path, step: u64) -> Result<Self, SaveError> {
        let path = folder.join(METRICS_FILE);
        let failed = |source| SaveError::Write { path: path.clone(), source };
        let mut kept = BufWriter::new(unfinished(&path).map_err(failed)?);
        let mut seconds_before = 0.0;
        let mut lines = lines(folder)?;
        while let Some(line) = lines.next_as::<Place>() {
            let (place, line) = line?;
            if place.step.is_some_and(|at| at <= step) && place.end.is_none() {
                kept.write_all(line.trim_ascii_end()).and_then(|()| kept.write_all(b"\n")).map_err(failed)?;
                seconds_before = place.seconds.unwrap_or(seconds_before);
            }
        }
        let kept = kept.into_inner().map_err(|e| failed(e.into_error()))?;
        finish(kept, &path).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Self { path, file, opened: Instant::now(), seconds_before })
    }

    /// Appends one line, an object, with the seconds of the training so far. The line that ends a training has none, so that it
    /// is the same when a finished training is resumed.
    ///
    /// # Errors
    /// [`SaveError::Write`] if the file cannot be written.
    pub fn write(&mut self, mut line: Value) -> Result<(), SaveError> {
        if line[END].is_null() {
            let seconds = self.seconds_before + self.opened.elapsed().as_secs_f64();
            line[SECONDS] = ((1e3 * seconds).round() / 1e3).into();
        }
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|source| SaveError::Write { path: self.path.clone(), source })
    }
}

/// The part of a line that decides whether a resumed run keeps it.
#[derive(Deserialize)]
struct Place {
    step: Option<u64>,
    seconds: Option<f64>,
    end: Option<IgnoredAny>,
}

/// The lines of a run's metrics file, without an incomplete last line of a killed run; none if there is no file.
///
/// # Errors
/// [`SaveError`] if the file cannot be read, or a line before the last is not JSON.
pub fn read(folder: &Path) -> Result<Vec<Value>, SaveError> {
    lines(folder)?.collect()
}

/// [`read`], one line after another: a long run has millions.
///
/// # Errors
/// [`SaveError::Read`] if the file cannot be opened; an error of a line is in its place.
pub fn lines(folder: &Path) -> Result<Lines, SaveError> {
    let path = folder.join(METRICS_FILE);
    let file = match File::open(&path) {
        Ok(file) => Some(BufReader::new(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(SaveError::Read { path, source }),
    };
    Ok(Lines { path, file, number: 0 })
}

/// The lines of a metrics file.
pub struct Lines {
    path: PathBuf,
    /// `None` at the end.
    file: Option<BufReader<File>>,
    number: usize,
}

/// The most bytes of a line.
const LONGEST: u64 = 64 << 20;

impl Lines {
    /// The next line, parsed, and its bytes.
    fn next_as<T: DeserializeOwned>(&mut self) -> Option<Result<(T, Vec<u8>), SaveError>> {
        let (file, mut line) = (self.file.as_mut()?, vec![]);
        let read = file.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        self.number += 1;
        let found = match read {
            Ok(0) => None,
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(value) => return Some(Ok((value, line))),
                Err(_) if line.last() != Some(&b'\n') && (line.len() as u64) < LONGEST => None,
                Err(e) => {
                    let problem = format!("line {}: {e}", self.number);
                    let path = self.path.clone();
                    Some(Err(SaveError::Format { path, expected: "file of JSON lines", problem }))
                }
            },
            Err(source) => Some(Err(SaveError::Read { path: self.path.clone(), source })),
        };
        self.file = None;
        found
    }
}

impl Iterator for Lines {
    type Item = Result<Value, SaveError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_as()?.map(|(line, _)| line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_log_keeps_the_lines_up_to_its_step_and_counts_their_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        let before = "{\"step\":1,\"loss\":2.50,\"seconds\":10.5}\n{\"step\":2}\n";
        let after = "{\"step\":2,\"end\":\"finished\"}\n{\"step\":3,\"seconds\":99}";
        std::fs::write(&path, format!("{before}{after}")).unwrap();
        let mut log = MetricsLog::open(folder.path(), 2).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        log.write(serde_json::json!({ "step": 3 })).unwrap();
        let seconds = read(folder.path()).unwrap()[2][SECONDS].as_f64().unwrap();
        assert!((10.5..99.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn lines_end_before_one_that_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        let write = |text: &str| std::fs::write(folder.path().join(METRICS_FILE), text).unwrap();
        write("{\"step\":1}\n{\"step\":2}\n{\"st");
        let steps: Vec<_> = read(folder.path()).unwrap().iter().map(|line| line["step"].as_u64()).collect();
        assert_eq!(steps, [Some(1), Some(2)]);
        write("{\"step\":1}\n{\"st\n{\"step\":3}\n");
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        let mut lines = lines(folder.path()).unwrap();
        assert!(lines.next().unwrap().is_ok() && lines.next().unwrap().is_err() && lines.next().is_none());
    }
}
