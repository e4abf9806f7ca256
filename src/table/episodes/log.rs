//! Logs of episodes: a file of any format, a folder or tar archive of such files, or a data set in LeRobot's layout or in
//! Minari's.

use crate::data::error::contained;
use crate::data::{self, DataError, Files};
use smalti_contract::caught;
use smalti_trajectory::lerobot::{self, Info};
use smalti_trajectory::{Episode, Format, Images, TrajectoryError, csv, episodes_in, minari, parquet};
use std::collections::HashSet;
use std::sync::Arc;

/// The episodes at a location.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The episodes in order, each after its file; an error for a corrupt episode.
    pub episodes: Vec<(String, Result<Episode, TrajectoryError>)>,
    /// Files and columns that are not read, with the reason.
    pub skipped: Vec<(String, &'static str)>,
    /// The files of images that are not in the log itself.
    pub files: Option<Arc<Files>>,
}

/// An episode and its source.
#[derive(Clone, Debug)]
pub struct LoggedEpisode {
    /// The file.
    pub file: String,
    /// The number of the episode in the log.
    pub number: usize,
    /// The episode.
    pub episode: Episode,
}

/// Endings of files of episodes; in a folder, others are skipped.
const ENDINGS: [&str; 7] = [".npz", ".jsonl", ".ndjson", ".csv", ".parquet", ".hdf5", ".h5"];

/// Reads all episodes at a location.
///
/// # Errors
/// [`DataError`] if the location has no episode or a file cannot be read. A corrupt episode is an error in its place of the
/// [`Log`].
pub fn read(location: &str) -> Result<Log, DataError> {
    caught(|| read_all(location)).unwrap_or_else(|panic| {
        Err(DataError::tokenize(location, format!("not readable as episodes: the reader failed: {panic}")))
    })
}

fn read_all(location: &str) -> Result<Log, DataError> {
    let mut log = Log::default();
    match data::read(location) {
        Ok(bytes) if !location.ends_with(".tar") => {
            log.file(location, "", &bytes);
            let folder = data::files::folder(location);
            log.files = Some(Arc::new(Files::named(folder, log.image_files().into_iter())));
        }
        Ok(_) | Err(DataError::IsFolder { .. }) => log.folder(Files::open(location)?)?,
        Err(error) => return Err(error),
    }
    Ok(log)
}

/// Whether a folder or an archive holds episodes: a data set in LeRobot's layout, or only files with endings of episodes and
/// their descriptions. With images beside them, such files may be tables of labels.
pub fn is_log(files: &Files) -> bool {
    let describes = |path: &str| [".json", ".md", ".txt"].iter().any(|ending| path.ends_with(ending));
    let (logs, others): (Vec<&String>, Vec<&String>) = files.list().iter().partition(|path| is_named(path));
    files.contains(lerobot::INFO) || !logs.is_empty() && others.iter().all(|path| describes(path))
}

/// The description of a data set of Minari that is a file for each episode, and its folder: empty, or with a `/` at its end.
pub(super) fn minari_info(files: &Files) -> Option<(&'static str, minari::Info)> {
    let folder =
        ["", "data/"].into_iter().find(|folder| files.contains(&format!("{folder}{}", minari::INFO)))?;
    let info = minari::Info::parse(&files.read(&format!("{folder}{}", minari::INFO)).ok()?).ok()?;
    (info.data_format != "hdf5").then_some((folder, info))
}

/// Rewrites the paths of an episode's images from relative to `folder` to relative to the log, whose folder has them.
fn with_image_paths(location: &str, folder: &str, mut episode: Episode) -> Result<Episode, TrajectoryError> {
    for images in episode.images.values_mut() {
        let Images::Files(paths) = images else { continue };
        for path in paths {
            let refuse = |e: DataError| TrajectoryError::Columns(e.to_string());
            let below = contained(location, path).map_err(refuse)?;
            *path = if folder.is_empty() { below } else { format!("{folder}/{below}") };
        }
    }
    Ok(episode)
}

/// The error of an episode that cannot be read, with the format that the file's name tells.
pub(super) fn unreadable(file: &str, error: &TrajectoryError) -> DataError {
    let format = Format::by_name(file).map_or("npz, JSON lines, CSV, Parquet, HDF5", Format::name);
    DataError::tokenize(file, format!("not readable as episodes ({format}): {error}"))
}

fn is_named(path: &str) -> bool {
    let path = path.strip_suffix(".gz").unwrap_or(path);
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

impl Log {
    /// All episodes.
    ///
    /// # Errors
    /// The error of the first corrupt episode, with its file.
    pub fn all(self) -> Result<Vec<LoggedEpisode>, DataError> {
        let one = |(number, (file, episode)): (usize, (String, Result<Episode, TrajectoryError>))| {
            let episode = episode.map_err(|error| unreadable(&file, &error))?;
            Ok(LoggedEpisode { file, number, episode })
        };
        self.episodes.into_iter().enumerate().map(one).collect()
    }

    /// The paths of all images in separate files.
    fn image_files(&self) -> Vec<String> {
        let episodes = self.episodes.iter().flat_map(|(_, episode)| episode);
        let images = episodes.flat_map(|episode| episode.images.values());
        let files = images.filter_map(|images| match images {
            Images::Files(paths) => Some(paths),
            Images::Frames { .. } | Images::Encoded(_) => None,
        });
        files.flatten().cloned().collect()
    }

    /// Reads a file in `folder`, a path relative to the log, to which the paths of its images are relative.
    fn file(&mut self, location: &str, folder: &str, bytes: &[u8]) {
        let mut put = |episode: Result<Episode, TrajectoryError>| {
            let episode = episode.and_then(|episode| with_image_paths(location, folder, episode));
            self.episodes.push((location.to_string(), episode));
        };
        let read = match Format::by_name(location).or_else(|| Format::of(bytes)) {
            Some(Format::Parquet) => parquet::read(bytes),
            Some(Format::Csv) => csv::read(bytes),
            Some(format) => return episodes_in(format, bytes).for_each(put),
            None => {
                Err(TrajectoryError::Columns("neither its name nor its content is of one of these".into()))
            }
        };
        match read {
            Ok(read) => {
                read.episodes.into_iter().map(Ok).for_each(&mut put);
                self.skip(read.skipped);
            }
            Err(error) => put(Err(error)),
        }
    }

    fn folder(&mut self, files: Files) -> Result<(), DataError> {
        let files = Arc::new(files);
        self.files = Some(files.clone());
        self.skipped.extend_from_slice(files.skipped());
        if files.contains(lerobot::INFO) {
            return self.lerobot(&files);
        }
        if let Some((folder, info)) = minari_info(&files) {
            return self.minari(&files, folder, &info);
        }
        for path in files.list().iter().filter(|path| is_named(path)) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.file(&files.location(path), folder, &files.read(path)?);
        }
        let images: HashSet<String> = self.image_files().into_iter().collect();
        let others = files.list().iter().filter(|path| !is_named(path) && !images.contains(*path));
        self.skipped.extend(others.map(|path| (path.clone(), "not a file of episodes")));
        if self.episodes.is_empty() {
            let expected = "files of episodes (.npz, .jsonl, .csv, .parquet, .hdf5)";
            return Err(DataError::Empty { location: files.name().to_string(), expected });
        }
        Ok(())
    }

    fn lerobot(&mut self, files: &Files) -> Result<(), DataError> {
        let described = files.location(lerobot::INFO);
        let refuse = |e: TrajectoryError| DataError::tokenize(&described, e);
        let info = Info::parse(&files.read(lerobot::INFO)?).map_err(refuse)?;
        for path in files.list().iter().filter(|path| info.is_data(path)) {
            let location = files.location(path);
            match info.read(&files.read(path)?) {
                Ok(read) => {
                    let with_file = |one| (location.clone(), with_image_paths(&location, "", one));
                    self.episodes.extend(read.episodes.into_iter().map(with_file));
                    self.skip(read.skipped);
                }
                Err(error) => self.episodes.push((location, Err(error))),
            }
        }
        self.check(|episodes, steps| info.check(episodes, steps)).map_err(refuse)
    }

    fn minari(&mut self, files: &Files, folder: &str, info: &minari::Info) -> Result<(), DataError> {
        let number = |path: &str| minari::Info::episode(path.strip_prefix(folder)?);
        let mut paths: Vec<(usize, &String)> =
            files.list().iter().filter_map(|path| Some((number(path)?, path))).collect();
        paths.sort_unstable();
        for (_, path) in paths {
            match minari::read(&files.read(path)?) {
                Ok(read) => {
                    self.episodes
                        .extend(read.episodes.into_iter().map(|one| (files.location(path), Ok(one))));
                    self.skip(read.skipped);
                }
                Err(error) => self.episodes.push((files.location(path), Err(error))),
            }
        }
        let described = files.location(&format!("{folder}{}", minari::INFO));
        let check = self.check(|episodes, steps| info.check(episodes, steps));
        check.map_err(|e| DataError::tokenize(&described, e))
    }

    /// Checks the numbers of episodes and of steps. A corrupt episode is reported itself, not as a wrong number of episodes.
    fn check(
        &self,
        expected: impl Fn(usize, usize) -> Result<(), TrajectoryError>,
    ) -> Result<(), TrajectoryError> {
        match self.episodes.iter().all(|(_, episode)| episode.is_ok()) {
            true => {
                let steps = self.episodes.iter().flat_map(|(_, episode)| episode).map(Episode::len).sum();
                expected(self.episodes.len(), steps)
            }
            false => Ok(()),
        }
    }

    /// Adds skipped columns and files, each once.
    fn skip(&mut self, skipped: Vec<(String, &'static str)>) {
        for entry in skipped {
            if !self.skipped.contains(&entry) {
                self.skipped.push(entry);
            }
        }
    }
}
