//! Recordings, with and without their texts.

use super::digest::Digest;
use super::numbers::Numbers;
use super::part::{Named, Part, Seen, each};
use crate::cli::tokenize::Cut;
use crate::data::manifest::{Manifest, Row};
use crate::tasks::modalities::audio::AudioTokenizer;
use anyhow::Result;
use smalti_contract::Tokenizer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sample rate in Hz and length in seconds.
type Length = (u32, f64);

/// The column that says which split a recording is of.
const SPLIT: &str = "split";

/// Reads one recording.
pub fn check_file(path: &str, bytes: &[u8], cut: &Cut) -> Result<Part> {
    let mut part = Part::new("a recording");
    let length = part.count(|| path.into(), look(&cut.of_clips()?, bytes));
    find_lengths(&mut part, &length.into_iter().collect::<Vec<_>>());
    let name = path.to_string();
    part.named = Box::new(move |_| Named { name: name.clone(), split: None, label: None });
    Ok(part)
}

/// Reads every recording that a manifest names.
pub fn check_manifest(manifest: Manifest, cut: &Cut) -> Result<Part> {
    let (manifest, tokenizer) = (Arc::new(manifest), cut.of_clips()?);
    let mut part = Part::new("recordings with their texts");
    let (mut lengths, mut texts) = (Vec::new(), Numbers::default());
    let read = |row: &Row| look(&tokenizer, &row.read().map_err(|e| e.to_string())?);
    let rows = manifest.rows();
    each(
        rows.iter(),
        Some(rows.len()),
        |row| (row, read(row)),
        |(row, read)| {
            lengths.extend(part.count(|| row.path().to_string(), read));
            texts.add(row.text().chars().count() as f64);
        },
    );
    find_lengths(&mut part, &lengths);
    part.find("columns", manifest.columns());
    part.find("without_text", rows.iter().filter(|row| row.text().trim().is_empty()).count());
    part.find("characters_in_a_text", texts.spread());
    part.named = Box::new(move |number| {
        let row = &manifest.rows()[number];
        let split = row.get(SPLIT).map(str::to_string);
        Named { name: row.path().to_string(), split, label: Some(row.text().to_string()) }
    });
    Ok(part)
}

/// The clip in a file.
fn look(tokenizer: &AudioTokenizer, bytes: &[u8]) -> Result<Seen<Length>, String> {
    let clip = tokenizer.records(bytes).next().ok_or("there is no clip in it")?.map_err(|e| e.to_string())?;
    Ok(Seen {
        content: Digest::of_samples(clip.sample_rate, &clip.samples),
        tokens: tokenizer.encode(&clip).map(|tokens| tokens.len()).map_err(|e| e.to_string()),
        size: (clip.sample_rate, f64::from(clip.seconds())),
    })
}

fn find_lengths(part: &mut Part, lengths: &[Length]) {
    let (mut rates, mut seconds) = (BTreeMap::<u32, usize>::new(), Numbers::default());
    for (rate, length) in lengths {
        *rates.entry(*rate).or_default() += 1;
        seconds.add(*length);
    }
    part.find("sample_rates", rates);
    part.find("seconds", seconds.total());
    part.find("seconds_of_a_clip", seconds.spread());
}
