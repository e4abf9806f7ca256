//! `metrics.jsonl`: one JSON object per line, each with its `step`.

use super::SaveError;
use super::checkpoint::write_atomically;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// The file's name in a run folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The metrics file of a run, open for appending.
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the metrics file of a run folder for steps after `step`, and removes the lines of later steps, which a killed run
    /// wrote after its last checkpoint.
    ///
    /// # Errors
    /// [`SaveError`], which names the file.
    pub fn open(folder: &Path, step: u64) -> Result<Self, SaveError> {
        let path = folder.join(METRICS_FILE);
        let kept: String = read(folder)?
            .into_iter()
            .filter(|line| line["step"].as_u64().is_some_and(|at| at <= step))
            .map(|line| format!("{line}\n"))
            .collect();
        write_atomically(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|source| SaveError::Write { path: path.clone(), source })?;
        Ok(Self { path, file })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// [`SaveError::Write`] if the file cannot be written.
    pub fn write(&mut self, line: &Value) -> Result<(), SaveError> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|source| SaveError::Write { path: self.path.clone(), source })
    }
}

/// The lines of a run's metrics file, without an incomplete last line of a killed run; none if there is no file.
///
/// # Errors
/// [`SaveError`] if the file cannot be read, or a line before the last is not JSON.
pub fn read(folder: &Path) -> Result<Vec<Value>, SaveError> {
    let path = folder.join(METRICS_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(SaveError::Read { path, source }),
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut values = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(value) => values.push(value),
            Err(_) if i + 1 == lines.len() && !text.ends_with('\n') => {}
            Err(e) => {
                let problem = format!("line {}: {e}", i + 1);
                return Err(SaveError::Format { path, expected: "file of JSON lines", problem });
            }
        }
    }
    Ok(values)
}
