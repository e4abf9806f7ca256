//! Recordings, with and without their texts.

use super::{Part, read_all};
use anyhow::Result;
use smalti::data::manifest::{Manifest, Row};
use smalti::tasks::modalities::audio::{self, Waveform};
use std::collections::BTreeMap;

/// Reads one recording.
pub fn check_file(path: &str, bytes: &[u8]) -> Part {
    let mut part = Part::new("a recording");
    let read = audio::read(bytes).map(|clip| length(&clip)).map_err(|e| e.to_string());
    let lengths: Vec<_> = part.count(|| path.into(), read).into_iter().collect();
    find_lengths(&mut part, &lengths);
    part
}

/// Reads every recording that a manifest names.
pub fn check_manifest(path: &str) -> Result<Part> {
    let manifest = Manifest::open(path)?;
    let read = |row: &Row| {
        let bytes = row.read().map_err(|e| e.to_string())?;
        audio::read(&bytes).map(|clip| length(&clip)).map_err(|e| e.to_string())
    };
    let mut part = Part::new("recordings with their texts");
    let mut lengths = Vec::new();
    for (row, read) in manifest.rows().iter().zip(read_all(manifest.rows(), read)) {
        lengths.extend(part.count(|| row.path().to_string(), read));
    }
    find_lengths(&mut part, &lengths);
    part.find("columns", manifest.columns());
    part.find("without_text", manifest.rows().iter().filter(|row| row.text().trim().is_empty()).count());
    Ok(part)
}

/// Sample rate in Hz and length in seconds.
fn length(clip: &Waveform) -> (u32, f64) {
    (clip.sample_rate, f64::from(clip.seconds()))
}

fn find_lengths(part: &mut Part, lengths: &[(u32, f64)]) {
    let seconds = || lengths.iter().map(|(_, seconds)| *seconds);
    let mut rates: BTreeMap<u32, usize> = BTreeMap::new();
    lengths.iter().for_each(|(rate, _)| *rates.entry(*rate).or_default() += 1);
    part.find("sample_rates", rates);
    part.find("seconds", seconds().sum::<f64>());
    part.find("shortest_seconds", seconds().reduce(f64::min));
    part.find("longest_seconds", seconds().reduce(f64::max));
}
