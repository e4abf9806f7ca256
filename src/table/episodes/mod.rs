//! Episodes: one row per episode, whose fields are series.
//!
//! | field | value at a step |
//! | --- | --- |
//! | `observations` | the state: a number, or `[state_dim]` |
//! | `observations.NAME` | a part of the state, such as a sensor of a robot |
//! | the camera's name | an image: `[height, width]` or `[height, width, channels]` bytes, or a file |
//! | `actions`, or `actions.NAME` for several | the action: a choice, a number, or `[action_dim]` |
//! | `rewards` | the reward, if the log has rewards |
//!
//! and one value per row: `end` (`terminated` or `time_limit`), `task` (the task in words, of LeRobot and RLDS), and `split` if
//! a description names it or all files have names of splits.

mod detect;
mod fields;
mod lerobot;
mod log;
mod recent;
mod rlds;
#[cfg(test)]
mod tests;
mod video;

pub use log::{Log, LoggedEpisode, is_log, read};

use super::place::{split_of, split_word};
use super::{Place, Table, unknown_field};
use crate::data::{DataError, Files};
use fields::Field;
use lerobot::Details;
use smalti_contract::{File, Value};
use smalti_trajectory::lerobot::INFO;
use smalti_trajectory::{Episode, TrajectoryError, check_compatible};
use std::ops::Range;
use std::sync::Arc;
use video::{Clip, Decoder};

/// The layout's name.
pub const NAME: &str = "episodes";

struct Episodes {
    name: String,
    names: Vec<String>,
    fields: Vec<Field>,
    rows: Vec<Row>,
    skipped: Vec<(String, &'static str)>,
    decoder: Decoder,
}

/// One episode and its source.
struct Row {
    file: String,
    /// The number of the episode in its log.
    number: usize,
    /// The files of images that are not in the log itself.
    files: Option<Arc<Files>>,
    details: Details,
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
    if !place.is_requested(NAME) {
        match detect::reason(place)? {
            Ok(because) => place.because(because),
            Err(reason) => return place.decline(reason),
        }
    }
    place.refuse_columns(NAME)?;
    let mut table = Episodes {
        name: place.path.clone(),
        names: vec![],
        fields: vec![],
        rows: vec![],
        skipped: vec![],
        decoder: Decoder::new(),
    };
    for location in place.locations()? {
        table.add(read(&location)?)?;
    }
    table.check()?;
    table.mark_incompatible();
    let episodes = || table.rows.iter().filter_map(|row| row.episode.as_ref().ok());
    let videos = table.rows.iter().flat_map(|row| row.details.videos.keys());
    let mut fields = fields::of(episodes(), videos);
    if table.rows.iter().any(|row| row.details.task.is_some()) {
        fields.push(("task".into(), Field::Task));
    }
    if table.rows.iter().all(|row| row.details.split.is_some()) {
        fields.push(("split".into(), Field::Split));
    }
    (table.names, table.fields) = fields.into_iter().unzip();
    Ok(Some(Arc::new(table)))
}

impl Episodes {
    fn add(&mut self, log: Log) -> Result<(), DataError> {
        let details = match &log.files {
            Some(files) if files.contains(INFO) => {
                let (details, skipped) = lerobot::details(files, &log.episodes)?;
                self.skipped.extend(skipped);
                details
            }
            _ => vec![],
        };
        let mut details = details.into_iter();
        for (number, (file, episode)) in log.episodes.into_iter().enumerate() {
            let mut details = details.next().unwrap_or_default();
            let of_file = split_word(split_of(&file));
            details.split = details.split.or(of_file.map(String::from));
            self.rows.push(Row { file, number, files: log.files.clone(), details, episode });
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

    /// The images of a video; without `bytes`, files without bytes in their place.
    fn video(&self, clip: &Clip, steps: Range<usize>, bytes: bool) -> Result<Value, DataError> {
        if !bytes {
            let file = |_| Value::File(File { name: clip.location.clone(), bytes: vec![] });
            return Ok(Value::Series(steps.map(file).collect()));
        }
        if steps.is_empty() {
            return Ok(Value::Series(vec![]));
        }
        let images = self.decoder.images(clip, steps.clone())?;
        Ok(fields::images(&images, 0..steps.len()))
    }

    fn get(&self, row: usize, name: &str, steps: Range<usize>, bytes: bool) -> Result<Value, DataError> {
        let (field, row) = (self.field(name)?, &self.rows[row]);
        let text = |text: Option<&str>| text.map_or(Value::Missing, |text| Value::Text(text.into()));
        match field {
            Field::Task => Ok(text(row.details.task.as_deref())),
            Field::Split => Ok(text(row.details.split.as_deref())),
            Field::Video(camera) => match row.details.videos.get(camera) {
                Some(clip) => self.video(clip, row.steps(steps)?, bytes),
                None => Ok(Value::Missing),
            },
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
        self.episode.as_ref().map_err(|error| log::unreadable(&self.file, error))
    }

    /// These steps, cut at the end of the episode.
    fn steps(&self, steps: Range<usize>) -> Result<Range<usize>, DataError> {
        let all = self.episode()?.len();
        Ok(steps.start.min(all)..steps.end.min(all))
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
