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
    /// Prints one JSON object: for each set its name, how to use it, what it is, bytes and licence.
    #[arg(long)]
    json: bool,
}

/// One data set.
#[derive(Serialize)]
struct Set {
    name: String,
    /// What to write to have it.
    how: String,
    what: String,
    bytes: u64,
    licence: String,
}

/// What ships: name, location, what it is, licence. The names that `smalti data make` knows make it again.
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
        "telephone keys by their tones, with their texts, WAV, 4 kHz",
        "MIT OR Apache-2.0",
    ),
    (
        "cartpole",
        "builtin:cartpole-mixed.npz",
        "episodes of CartPole, played by policies good and bad",
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
    print::table(&["what there is (licence)", "size", "to use it"], &rows.collect::<Vec<_>>());
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

fn files_of(location: &str) -> impl Iterator<Item = &'static (&'static str, &'static [u8])> {
    let path = location.trim_start_matches("builtin:");
    shipped::files().iter().filter(move |(file, _)| file.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made;

    #[test]
    fn every_shipped_file_and_every_made_set_is_listed() {
        let listed: usize = SHIPPED.iter().map(|(_, location, ..)| files_of(location).count()).sum();
        assert_eq!(listed, shipped::files().len());
        assert!(made::names().iter().all(|made| SHIPPED.iter().any(|(name, ..)| name == made)));
        assert!(sets().iter().all(|set| set.bytes > 1000));
    }
}
