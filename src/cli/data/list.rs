//! `smalti data list`

use crate::cli::print;
use crate::data::{recipes, shipped};
use anyhow::Result;
use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;
use serde_json::json;

#[derive(Args)]
pub struct ListArgs {
    /// Print one JSON object: for each set its name, how to use it, what it is, bytes and licence.
    #[arg(long)]
    json: bool,
}

/// One data set.
#[derive(Serialize)]
struct Set {
    name: String,
    /// Location of a data set that ships, or the command that fetches it.
    how: String,
    what: String,
    bytes: u64,
    licence: String,
}

/// The data sets that ship: name, location, description, licence.
const SHIPPED: [(&str, &str, &str, &str); 4] = [
    ("text", "builtin:text/smalti.txt", "the source of this program, plain ASCII", "MIT OR Apache-2.0"),
    (
        "digits",
        "builtin:digits",
        "1,797 handwritten digits, 8×8 grey, as IDX files",
        "CC BY 4.0; E. Alpaydin, C. Kaynak",
    ),
    (
        "touchtone",
        "builtin:touchtone.tar",
        "telephone keys by their tones, with their transcripts, WAV, 4 kHz",
        "MIT OR Apache-2.0",
    ),
    (
        "cartpole",
        "builtin:cartpole-mixed.npz",
        "episodes of CartPole, by policies of different returns",
        "MIT OR Apache-2.0",
    ),
];

/// Lists.
pub fn run(args: ListArgs) -> Result<()> {
    let sets = sets();
    if args.json {
        return print::json(&json!({ "sets": sets }));
    }
    let rows = sets.into_iter().map(|Set { name, how, what, bytes, licence }| {
        vec![format!("{name}: {what}\n({licence})"), HumanBytes(bytes).to_string(), how]
    });
    print::table(&["data set (licence)", "size", "to use it"], &rows.collect::<Vec<_>>());
    Ok(())
}

fn sets() -> Vec<Set> {
    let shipped = SHIPPED.iter().map(|(name, location, what, licence)| Set {
        name: name.to_string(),
        how: location.to_string(),
        what: what.to_string(),
        bytes: files_of(location).map(|(_, bytes)| bytes.len() as u64).sum(),
        licence: licence.to_string(),
    });
    let fetched = recipes::list().iter().map(|recipe| Set {
        name: recipe.name.clone(),
        how: format!("smalti data get {}", recipe.name),
        what: recipe.about.clone(),
        bytes: recipe.files.iter().map(|file| file.size).sum(),
        licence: recipe.licence.clone(),
    });
    shipped.chain(fetched).collect()
}

/// The files of a data set that ships; `None` for another name.
pub(super) fn shipped(name: &str) -> Option<impl Iterator<Item = &'static (&'static str, Vec<u8>)> + use<>> {
    let (_, location, ..) = SHIPPED.iter().find(|(set, ..)| *set == name)?;
    Some(files_of(location))
}

fn files_of(location: &str) -> impl Iterator<Item = &'static (&'static str, Vec<u8>)> {
    let path = location.trim_start_matches("builtin:");
    shipped::files().iter().filter(move |(file, _)| file.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_listed() {
        let listed: usize = SHIPPED.iter().map(|(_, location, ..)| files_of(location).count()).sum();
        assert_eq!(listed, shipped::files().len());
        assert!(sets().iter().all(|set| set.bytes > 1000));
    }
}
