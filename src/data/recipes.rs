//! Published data by name: where it is, and what it must be when it arrives.

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

/// What to fetch for one data set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name it is asked for by, and of the folder that it goes into.
    pub name: String,
    /// What it is, in a line.
    pub about: String,
    /// Under which terms it was published, and by whom.
    pub licence: String,
    /// Its files.
    pub files: Vec<Remote>,
    /// How to write a manifest, where the file names say what is in the files.
    pub manifest: Option<Naming>,
}

/// One file to fetch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Where it is published. A mirror holds it under the last part of this address.
    pub url: String,
    /// What to do with it.
    #[serde(default)]
    pub unpack: Unpack,
    /// Bytes of the file; for [`Unpack::Gzip`], of what it unpacks to.
    pub size: u64,
    /// Its SHA-256 in lower-case hexadecimal, of the same bytes as `size`.
    pub sha256: String,
    /// Its name in the recipe's folder; by default the last part of the address, without `.gz` where that
    /// is unpacked. The members of a [`Unpack::TarGz`] keep their own names.
    pub to: Option<String>,
}

/// How a file is packed, and how it will lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Unpack {
    /// As it is.
    #[default]
    #[serde(rename = "none")]
    None,
    /// Unpacked. The same data may be packed differently by each mirror.
    #[serde(rename = "gzip")]
    Gzip,
    /// As the archive's members, without its own top folder.
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

/// The recipes that ship with the program.
pub fn list() -> &'static [Recipe] {
    &RECIPES
}

/// Fetches a data set by name into `dest/name`, which is returned. See [`Recipe::get`].
///
/// # Errors
/// [`DataError::Unknown`] with the known names, and those of [`Recipe::get`].
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
    /// Fetches the files into `dest/name`, which is returned.
    ///
    /// A file that is already there and is the right one is not fetched again. `mirror` is another place to
    /// take the files from, by their names: an `http(s)://` address or a folder on disk. `progress` is told
    /// the bytes so far and the bytes in all. A file appears in the folder only when it is whole and
    /// verified.
    ///
    /// # Errors
    /// [`DataError::Download`], [`DataError::Missing`] for a file that a folder mirror lacks,
    /// [`DataError::Checksum`] for a file that is another one, [`DataError::Path`] and
    /// [`DataError::Format`] for an archive with members that may not be unpacked.
    pub fn get(
        &self,
        dest: &Path,
        mirror: Option<&str>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, DataError> {
        let folder = dest.join(&self.name);
        fs::create_dir_all(&folder).map_err(|e| refused(&folder, e))?;
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

    /// Where it will lie in the recipe's folder; an archive's place is taken by the list of its members.
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
        // Dropped with all that is in it on every way out of this function.
        let workshop = tempfile::tempdir_in(folder).map_err(|e| refused(folder, e))?;
        let fetched = workshop.path().join("fetched");
        fetch::fetch(self, mirror, &fetched, progress)?;
        match self.unpack {
            Unpack::TarGz => unpack::unpack(self, &fetched, &workshop.path().join("members"), folder),
            _ => fetch::place(&fetched, &self.destination(folder)),
        }
    }
}

fn refused(path: &Path, source: std::io::Error) -> DataError {
    DataError::io(path.display().to_string(), "a file or a folder", source)
}
