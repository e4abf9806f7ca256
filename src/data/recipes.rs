//! Published data sets by name: their addresses and checksums.

mod fetch;
mod naming;
#[cfg(test)]
mod tests;
mod unpack;

use crate::data::error::DataError;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub use naming::Naming;

/// The description of a published data set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name of the data set and of its folder.
    pub name: String,
    /// A description of one line.
    pub about: String,
    /// The licence and the author.
    pub licence: String,
    /// Its files.
    pub files: Vec<Remote>,
    /// The manifest to write, if the file names describe the files.
    pub manifest: Option<Naming>,
}

/// One file to download.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// The address. A mirror has the file under the last part of it.
    pub url: String,
    /// How to unpack it.
    #[serde(default)]
    pub unpack: Unpack,
    /// Size in bytes; for [`Unpack::Gzip`], unpacked.
    pub size: u64,
    /// SHA-256 of the same bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Its name in the recipe's folder; by default the last part of the address, without `.gz` if it is unpacked. The
    /// members of a [`Unpack::TarGz`] keep their own names.
    pub to: Option<String>,
}

/// How a downloaded file is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Unpack {
    /// Not at all.
    #[default]
    #[serde(rename = "none")]
    None,
    /// From gzip. Mirrors may pack the same data differently.
    #[serde(rename = "gzip")]
    Gzip,
    /// To the members of the archive, without its top folder.
    #[serde(rename = "tar.gz")]
    TarGz,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipes {
    recipe: Vec<Recipe>,
}

static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    let recipes: Recipes =
        toml::from_str(include_str!("../../data/recipes.toml")).expect("a test parses what ships");
    recipes.recipe
});

/// The shipped recipes.
pub fn list() -> &'static [Recipe] {
    &RECIPES
}

/// Downloads a data set by name into `dest/name`; returns that folder. See [`Recipe::get`].
///
/// # Errors
/// [`DataError::Unknown`] with the known names; the errors of [`Recipe::get`].
pub fn get(
    name: &str,
    dest: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<PathBuf, DataError> {
    let recipe = list().iter().find(|recipe| recipe.name == name).ok_or_else(|| DataError::Unknown {
        location: "recipes".to_string(),
        what: "recipe",
        name: name.to_string(),
        known: list().iter().map(|recipe| recipe.name.as_str()).collect::<Vec<_>>().join(", "),
    })?;
    recipe.get(dest, mirror, progress)
}

impl Recipe {
    /// Downloads the files into `dest/name`; returns that folder.
    ///
    /// A file that is already there with the right checksum is not downloaded again. `mirror` is another source of the files,
    /// by their names: an `http(s)://` address or a folder on disk. `progress` is called with the bytes so far and in all. A
    /// file appears in the folder only when it is complete and verified.
    ///
    /// # Errors
    /// [`DataError::Download`]; [`DataError::Missing`] for a file that a folder mirror lacks; [`DataError::Checksum`] for
    /// a file with another checksum; [`DataError::Path`] and [`DataError::Format`] for an archive with members that must not
    /// be unpacked.
    pub fn get(
        &self,
        dest: &Path,
        mirror: Option<&str>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, DataError> {
        let folder = dest.join(&self.name);
        fs::create_dir_all(&folder).map_err(|e| io_error(&folder, e))?;
        let total = self.files.iter().map(|file| file.size).sum();
        let mut done = 0;
        for file in &self.files {
            if !file.is_present(&folder)? {
                file.get(&folder, mirror, &mut |bytes| progress(done + bytes, Some(total)))?;
            }
            done += file.size;
            progress(done, Some(total));
        }
        if let Some(naming) = &self.manifest {
            naming.write_manifest(&folder)?;
        }
        Ok(folder)
    }
}

impl Remote {
    /// The last part of the address.
    pub fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }

    /// Its path in the recipe's folder; of an archive, the path of the list of its members.
    fn destination(&self, folder: &Path) -> PathBuf {
        let name = self.file_name();
        match (self.unpack, &self.to) {
            (Unpack::TarGz, _) => folder.join(format!("{name}.sha256")),
            (_, Some(to)) => folder.join(to),
            (Unpack::Gzip, None) => folder.join(name.strip_suffix(".gz").unwrap_or(name)),
            (Unpack::None, None) => folder.join(name),
        }
    }

    fn is_present(&self, folder: &Path) -> Result<bool, DataError> {
        let destination = self.destination(folder);
        match self.unpack {
            Unpack::TarGz => unpack::is_present(&destination, &self.sha256),
            _ => fetch::is_file(&destination, Some(self.size), &self.sha256),
        }
    }

    fn get(
        &self,
        folder: &Path,
        mirror: Option<&str>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DataError> {
        let temporary = tempfile::tempdir_in(folder).map_err(|e| io_error(folder, e))?;
        let fetched = temporary.path().join("fetched");
        fetch::fetch(self, mirror, &fetched, progress)?;
        match self.unpack {
            Unpack::TarGz => unpack::unpack(self, &fetched, &temporary.path().join("members"), folder),
            _ => fetch::place(&fetched, &self.destination(folder)),
        }
    }
}

fn io_error(path: &Path, source: std::io::Error) -> DataError {
    DataError::io(path.display().to_string(), "a file or a folder", source)
}
