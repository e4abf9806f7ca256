//! Episodes where they lie: a file of any format, a folder or tar archive of such files, a data set as LeRobot lays it
//! out.

use crate::data::{self, DataError, Files};
use smalti_trajectory::lerobot::{self, Info};
use smalti_trajectory::{Episode, Format, TrajectoryError, episodes, jsonl, parquet};

/// What lies at a location.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The episodes in their order, each with its file; in place of one that cannot be read, why.
    pub episodes: Vec<(String, Result<Episode, TrajectoryError>)>,
    /// Files, videos and columns that are not read, and why.
    pub skipped: Vec<(String, &'static str)>,
}

/// Names that files of episodes end in; in a folder, others are passed over.
const ENDINGS: [&str; 7] = [".npz", ".jsonl", ".ndjson", ".csv", ".parquet", ".hdf5", ".h5"];

/// Reads everything at a location.
///
/// # Errors
/// Where there is nothing, or no episode in it, or a file is damaged before it is known to hold episodes. A bad
/// episode is noted in its place.
pub fn read(location: &str) -> Result<Log, DataError> {
    let mut log = Log::default();
    match data::read(location) {
        Ok(bytes) if !location.ends_with(".tar") => log.file(location, &bytes),
        Ok(_) | Err(DataError::IsFolder { .. }) => log.folder(&Files::open(location)?)?,
        Err(error) => return Err(error),
    }
    Ok(log)
}

/// Whether a folder or an archive is one of episodes: a data set in LeRobot's layout, or nothing but files named as
/// episodes are and what describes them. Tables and lists also lie beside pictures.
pub fn is_log(files: &Files) -> bool {
    let describes = |path: &str| [".json", ".md", ".txt"].iter().any(|ending| path.ends_with(ending));
    let (logs, others): (Vec<&String>, Vec<&String>) = files.list().iter().partition(|path| is_named(path));
    files.contains(lerobot::INFO) || !logs.is_empty() && others.iter().all(|path| describes(path))
}

/// The episodes at a location, of all its files, as one file of JSON lines.
///
/// # Errors
/// Those of [`read`], and of the first bad episode.
pub fn lines(location: &str) -> Result<Vec<u8>, DataError> {
    let mut lines = vec![];
    let episodes = read(location)?.all()?;
    jsonl::write(&mut lines, &episodes).map_err(|e| DataError::tokenize(location, e))?;
    Ok(lines)
}

fn is_named(path: &str) -> bool {
    let path = path.strip_suffix(".gz").unwrap_or(path);
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

impl Log {
    /// All episodes.
    ///
    /// # Errors
    /// The first that cannot be read, with its file and format.
    pub fn all(self) -> Result<Vec<Episode>, DataError> {
        let one = |(file, episode): (String, Result<Episode, TrajectoryError>)| {
            let formats = "npz, JSON lines, CSV, Parquet, HDF5";
            episode
                .map_err(|e| DataError::tokenize(&file, format!("not readable as episodes ({formats}): {e}")))
        };
        self.episodes.into_iter().map(one).collect()
    }

    fn file(&mut self, location: &str, bytes: &[u8]) {
        let mut put = |episode| self.episodes.push((location.to_string(), episode));
        if Format::of(bytes) != Some(Format::Parquet) {
            return episodes(bytes).for_each(put);
        }
        match parquet::read(bytes) {
            Ok(read) => {
                read.episodes.into_iter().map(Ok).for_each(&mut put);
                self.skip(read.skipped);
            }
            Err(error) => put(Err(error)),
        }
    }

    fn folder(&mut self, files: &Files) -> Result<(), DataError> {
        self.skipped.extend_from_slice(files.skipped());
        if files.contains(lerobot::INFO) {
            return self.lerobot(files);
        }
        for path in files.list() {
            match is_named(path) {
                true => self.file(&files.location(path), &files.read(path)?),
                false => self.skipped.push((path.clone(), "not named as files of episodes are")),
            }
        }
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
                    self.episodes.extend(read.episodes.into_iter().map(|one| (location.clone(), Ok(one))));
                    self.skip(read.skipped);
                }
                Err(error) => self.episodes.push((location, Err(error))),
            }
        }
        self.skip(info.skipped());
        // Of what is bad, more is known than that it is missing.
        if self.episodes.iter().all(|(_, episode)| episode.is_ok()) {
            let steps = self.episodes.iter().flat_map(|(_, episode)| episode).map(Episode::len).sum();
            info.check(self.episodes.len(), steps).map_err(refuse)?;
        }
        Ok(())
    }

    /// Notes what is skipped, a column of many files once.
    fn skip(&mut self, skipped: Vec<(String, &'static str)>) {
        for entry in skipped {
            if !self.skipped.contains(&entry) {
                self.skipped.push(entry);
            }
        }
    }
}
