//! A manifest from descriptive file names.

use super::io_error;
use crate::data::error::DataError;
use crate::data::files::Files;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// The rule that makes a row of a manifest of a file name: `7_jackson_32.wav` with the columns `text`, `speaker` and `index`
/// is *seven*, by jackson, number 32.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Naming {
    /// The folder of the `.wav` files.
    pub folder: String,
    /// The columns that the parts of a name between underscores belong to.
    pub columns: Vec<String>,
    /// The texts that the numbers in the column `text` stand for.
    pub text: Vec<String>,
}

impl Naming {
    /// Writes `manifest.tsv` into the recipe's folder, unless it exists.
    pub(super) fn write_manifest(&self, recipe: &Path) -> Result<(), DataError> {
        let manifest = recipe.join("manifest.tsv");
        if manifest.exists() {
            return Ok(());
        }
        let files = Files::open(&recipe.join(&self.folder).display().to_string())?;
        let mut table = format!("path\t{}\n", self.columns.join("\t"));
        for name in files.list().iter().filter(|name| name.ends_with(".wav")) {
            let fields = self.fields(name).ok_or_else(|| {
                let expected = self.columns.join("_");
                DataError::layout(
                    &files.location(name),
                    format!("the name is not of the form {expected}.wav"),
                )
            })?;
            table.push_str(&format!("{}/{name}\t{}\n", self.folder, fields.join("\t")));
        }
        let draft = recipe.join("manifest.tsv.part");
        fs::write(&draft, table).map_err(|e| io_error(&draft, e))?;
        fs::rename(&draft, &manifest).map_err(|e| io_error(&manifest, e))
    }

    fn fields<'a>(&'a self, name: &'a str) -> Option<Vec<&'a str>> {
        let parts: Vec<&str> = name.strip_suffix(".wav")?.split('_').collect();
        let fields = self.columns.iter().zip(&parts).map(|(column, part)| match column.as_str() {
            "text" => self.text.get(part.parse::<usize>().ok()?).map(String::as_str),
            _ => Some(*part),
        });
        if parts.len() == self.columns.len() { fields.collect() } else { None }
    }
}
