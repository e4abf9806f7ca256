//! Episodes: one row per episode, whose fields are series.
//!
//! | field | value at a step |
//! | --- | --- |
//! | `observations` | the state: a number, or `[state_dim]` |
//! | `observations.NAME` | a part of the state, such as a sensor of a robot |
//! | the camera's name | an image: `[height, width]` or `[height, width, channels]` bytes, or a file |
//! | `actions`, or `actions.NAME` for several | the action: a choice, a number, or `[action_dim]` |
//! | `rewards` | the reward |
//!
//! and one value per row: `end` (`terminated` or `time_limit`), `task` (LeRobot's description of the task), and `split` if
//! all files have names of splits.

mod detect;
mod fields;
mod log;
mod rlds;
#[cfg(test)]
mod tests;

pub use log::{Log, LoggedEpisode, is_log, read};

use super::place::{SPLITS, split_of};
use super::{Place, Table, rows, unknown_field};
use crate::data::{DataError, Files};
use fields::Field;
use smalti_contract::{File, Value};
use smalti_trajectory::lerobot::INFO;
use smalti_trajectory::{Episode, TrajectoryError, check_compatible};
use std::ops::Range;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "episodes";

struct Episodes {
    name: String,
    names: Vec<String>,
    fields: Vec<Field>,
    rows: Vec<Row>,
    skipped: Vec<(String, &'static str)>,
}

/// One episode and its source.
struct Row {
    file: String,
    /// The number of the episode in its log.
    number: usize,
    /// The files of images that are not in the log itself.
    files: Option<Arc<Files>>,
    split: String,
    task: Option<String>,
    episode: Result<Episode, TrajectoryError>,
}

/// Opens a file of episodes, the files of a pattern, a folder or archive of them, or a data set in LeRobot's layout or in
/// that of RLDS. Tables have this layout if they have columns of states and actions.
///
/// # Errors
/// [`DataError`] if no episode can be read. A corrupt episode among others, or one whose states, cameras or actions differ
/// from those of the first, is a row whose values cannot be read.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    if let Some(table) = rlds::open(place)? {
        return Ok(Some(table));
    }
    if !place.is_requested(NAME) && !detect::holds_episodes(place)? {
        return Ok(None);
    }
    place.refuse_columns(NAME)?;
    let mut table =
        Episodes { name: place.path.clone(), names: vec![], fields: vec![], rows: vec![], skipped: vec![] };
    for location in place.locations()? {
        table.add(&location, read(&location)?)?;
    }
    table.check()?;
    table.mark_incompatible();
    let episodes = || table.rows.iter().filter_map(|row| row.episode.as_ref().ok());
    let mut fields = fields::of(episodes());
    if table.rows.iter().any(|row| row.task.is_some()) {
        fields.push(("task".into(), Field::Task));
    }
    if table.rows.iter().all(|row| SPLITS.contains(&row.split.as_str())) {
        fields.push(("split".into(), Field::Split));
    }
    (table.names, table.fields) = fields.into_iter().unzip();
    Ok(Some(Arc::new(table)))
}

impl Episodes {
    fn add(&mut self, location: &str, log: Log) -> Result<(), DataError> {
        let mut tasks = match &log.files {
            Some(files) if files.contains(INFO) => tasks(files, log.episodes.len()),
            _ => Ok(vec![]),
        }
        .unwrap_or_else(|why| {
            self.skipped.push((format!("{location}/meta"), why));
            vec![]
        })
        .into_iter();
        for (number, (file, episode)) in log.episodes.into_iter().enumerate() {
            let (files, split) = (log.files.clone(), split_of(&file).to_string());
            self.rows.push(Row { file, number, files, split, task: tasks.next().flatten(), episode });
        }
        self.skipped.extend(log.skipped);
        Ok(())
    }

    /// Checks that at least one episode can be read.
    fn check(&self) -> Result<(), DataError> {
        if self.rows.iter().any(|row| row.episode.is_ok()) {
            return Ok(());
        }
        match self.rows.first() {
            Some(row) => row.episode().map(drop),
            None => Err(DataError::Empty { location: self.name.clone(), expected: "episodes" }),
        }
    }

    /// Marks episodes as corrupt that differ in their states, cameras or actions from the first readable one.
    fn mark_incompatible(&mut self) {
        let first = self.rows.iter().position(|row| row.episode.is_ok());
        let (before, rest) = self.rows.split_at_mut(first.map_or(0, |first| first + 1));
        let Some(Ok(first)) = before.last().map(|row| &row.episode) else { return };
        for row in rest {
            let Ok(episode) = &row.episode else { continue };
            if let Err(error) = check_compatible(&[first, episode]) {
                row.episode = Err(match error {
                    TrajectoryError::Episode { error, .. } => *error,
                    other => other,
                });
            }
        }
    }

    fn field(&self, name: &str) -> Result<&Field, DataError> {
        let number = self.names.iter().position(|known| known == name);
        number.map(|number| &self.fields[number]).ok_or_else(|| unknown_field(self, name))
    }

    fn get(&self, row: usize, name: &str, steps: Range<usize>, bytes: bool) -> Result<Value, DataError> {
        let (field, row) = (self.field(name)?, &self.rows[row]);
        let text = |text: Option<&str>| text.map_or(Value::Missing, |text| Value::Text(text.into()));
        match field {
            Field::Task => Ok(text(row.task.as_deref())),
            Field::Split => Ok(text(Some(&row.split))),
            field => {
                let mut value = field.value(row.episode()?, steps);
                if let (true, Field::Camera(_), Value::Series(images)) = (bytes, field, &mut value) {
                    for (step, image) in images.iter_mut().enumerate() {
                        let in_step =
                            |e| DataError::tokenize(&row.file, format!("{name} at step {step}: {e}"));
                        row.read(image).map_err(in_step)?;
                    }
                }
                Ok(value)
            }
        }
    }
}

impl Row {
    fn episode(&self) -> Result<&Episode, DataError> {
        self.episode.as_ref().map_err(|e| {
            let formats = "npz, JSON lines, CSV, Parquet, HDF5";
            DataError::tokenize(&self.file, format!("not readable as episodes ({formats}): {e}"))
        })
    }

    /// Reads an image from its file, if it has one.
    fn read(&self, image: &mut Value) -> Result<(), DataError> {
        match (image, &self.files) {
            (Value::File(File { name, bytes }), Some(files)) if bytes.is_empty() => {
                *bytes = files.read(name)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The task descriptions of the episodes of a LeRobot data set; or the reason why they are left out.
fn tasks(files: &Files, episodes: usize) -> Result<Vec<Option<String>>, &'static str> {
    let is_list =
        |path: &&String| path.starts_with("meta/episodes") && rows::is_table(path) && !path.contains("stats");
    let locations: Vec<String> =
        files.list().iter().filter(is_list).map(|path| files.location(path)).collect();
    if locations.is_empty() {
        return Ok(vec![]);
    }
    let unreadable = |_| "tasks cannot be read";
    let table = rows::read(files.name(), locations).map_err(unreadable)?;
    if !table.fields().iter().any(|field| field == "tasks") {
        return Ok(vec![]);
    }
    if table.len() != episodes {
        return Err("the numbers of tasks and of episodes differ");
    }
    let mut tasks = vec![];
    for row in 0..table.len() {
        let text = |value: Value| value.into_text().ok();
        let task = match table.value(row, "tasks").map_err(unreadable)? {
            Value::Series(texts) => Some(texts.into_iter().filter_map(text).collect::<Vec<_>>().join("; ")),
            other => text(other),
        };
        let index = match table.value(row, "episode_index") {
            Ok(Value::Number(index)) => index,
            _ => row as f64,
        };
        tasks.push((index, task.filter(|task| !task.is_empty())));
    }
    tasks.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}

impl Table for Episodes {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, 0..usize::MAX, true)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, 0..usize::MAX, false)
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        self.get(row, field, steps, true)
    }

    /// A corrupt episode counts as one step, so that reading it reports its error.
    fn steps(&self, row: usize) -> usize {
        self.rows[row].episode.as_ref().map_or(1, Episode::len)
    }

    fn location(&self, row: usize) -> String {
        let Row { file, number, .. } = &self.rows[row];
        format!("{file} (episode {number})")
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
