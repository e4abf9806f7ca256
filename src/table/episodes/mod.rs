//! Logged episodes as rows: a row an episode, its fields series of observations, actions, rewards and cameras' images.

mod log;

pub use log::{Log, Logged, is_log, lines, read, self_contained};

use super::{Source, Table, unknown_field};
use crate::data::{DataError, Files};
use smalti_contract::{Array, File, Numbers, Value};
use smalti_trajectory::{Actions, Picture};
use std::ops::Range;
use std::sync::Arc;

/// The fields of what was seen, done and earned at each step.
const OBSERVATIONS: &str = "observations";
const ACTIONS: &str = "actions";
const REWARDS: &str = "rewards";
/// The field of a camera without a name.
const IMAGES: &str = "images";

/// Episodes in memory.
struct Episodes {
    name: String,
    fields: Vec<String>,
    episodes: Vec<Logged>,
    files: Option<Arc<Files>>,
    skipped: Vec<(String, &'static str)>,
}

/// Names that files end in that hold nothing but episodes.
const ENDINGS: [&str; 3] = [".npz", ".hdf5", ".h5"];

/// The episodes at a location: a file (`.npz`, JSON lines, CSV, Parquet, HDF5), a folder or archive of such files, a data
/// set in LeRobot's layout. Without a layout that is named, only what can be nothing else.
///
/// # Errors
/// [`DataError`] for a file that is damaged, with the number of the episode.
pub fn open(source: &Source) -> Result<Option<Arc<dyn Table>>, DataError> {
    let path = source.path.as_str();
    let named = ENDINGS.iter().any(|ending| path.ends_with(ending));
    if source.layout.is_none() && !named && !is_log_folder(path)? {
        return Ok(None);
    }
    let mut log = read(path)?;
    let (skipped, files) = (std::mem::take(&mut log.skipped), log.files.take());
    let episodes = log.all()?;
    let mut fields: Vec<String> = vec![];
    let mut add = |field: &str| {
        if !fields.iter().any(|known| known == field) {
            fields.push(field.into());
        }
    };
    for Logged { episode, .. } in &episodes {
        if episode.state_dim > 0 {
            add(OBSERVATIONS);
        }
        episode.pictures.keys().for_each(|camera| add(camera_field(camera)));
        for (part, _) in episode.actions.parts() {
            add(&if part.is_empty() { ACTIONS.to_string() } else { format!("{ACTIONS}.{part}") });
        }
        add(REWARDS);
    }
    Ok(Some(Arc::new(Episodes { name: path.into(), fields, episodes, files, skipped })))
}

/// Whether a folder or an archive holds nothing but episodes.
fn is_log_folder(path: &str) -> Result<bool, DataError> {
    match Files::open(path) {
        Ok(files) => Ok(is_log(&files)),
        // A single file, or nothing: other layouts say what is wrong.
        Err(_) => Ok(false),
    }
}

fn camera_field(camera: &str) -> &str {
    if camera.is_empty() { IMAGES } else { camera }
}

impl Episodes {
    /// The value of a field at a step; missing if the episode does not have it.
    fn at(&self, logged: &Logged, field: &str, step: usize) -> Result<Value, DataError> {
        let episode = &logged.episode;
        if field == OBSERVATIONS {
            let dim = episode.state_dim;
            return Ok(Value::vector(&episode.observations[step * dim..(step + 1) * dim]));
        }
        if field == REWARDS {
            return Ok(Value::Number(f64::from(episode.rewards[step])));
        }
        if let Some(part) = field.strip_prefix(ACTIONS) {
            let part = part.strip_prefix('.').unwrap_or(part);
            if let Some((_, actions)) = episode.actions.parts().into_iter().find(|(name, _)| *name == part) {
                return Ok(action(actions, step));
            }
        }
        let camera = episode.pictures.iter().find(|(camera, _)| camera_field(camera) == field);
        camera.and_then(|(_, images)| images.get(step)).map_or(Ok(Value::Missing), |image| self.image(image))
    }

    fn image(&self, image: Picture) -> Result<Value, DataError> {
        Ok(match image {
            Picture::Frame { height, width, channels, pixels } => {
                let shape = if channels == 1 { vec![height, width] } else { vec![height, width, channels] };
                Value::Array(Array { shape, numbers: Numbers::U8(pixels.to_vec()) })
            }
            Picture::Encoded(bytes) => Value::File(File { name: IMAGES.into(), bytes: bytes.to_vec() }),
            Picture::File(path) => {
                let files = self.files.as_ref().ok_or_else(|| DataError::Missing {
                    location: path.into(),
                    expected: "an image beside the log".into(),
                })?;
                Value::File(File { name: path.into(), bytes: files.read(path)? })
            }
        })
    }
}

/// One action: a number for a choice, a vector for real numbers.
fn action(actions: &Actions, step: usize) -> Value {
    match actions {
        Actions::Discrete(ids) => ids.get(step).map_or(Value::Missing, |&id| Value::Number(f64::from(id))),
        Actions::Continuous { values, dim } => {
            values.get(step * dim..(step + 1) * dim).map_or(Value::Missing, Value::vector)
        }
        Actions::Parts(_) => Value::Missing, // parts have no parts
    }
}

impl Table for Episodes {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.episodes.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.window(row, field, 0..self.steps(row))
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        if !self.fields.iter().any(|known| known == field) {
            return Err(unknown_field(self, field));
        }
        let Some(logged) = self.episodes.get(row) else { return Ok(Value::Missing) };
        let n = logged.episode.len();
        let located = |e: DataError| DataError::tokenize(&self.location(row), e);
        let values = (steps.start.min(n)..steps.end.min(n)).map(|step| self.at(logged, field, step).map_err(located));
        Ok(Value::Series(values.collect::<Result<_, _>>()?))
    }

    fn steps(&self, row: usize) -> usize {
        self.episodes.get(row).map_or(0, |logged| logged.episode.len())
    }

    fn location(&self, row: usize) -> String {
        match self.episodes.get(row) {
            Some(Logged { file, number, .. }) => format!("episode {number} of {file}"),
            None => self.name.clone(),
        }
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_text(text: &str, name: &str) -> Result<Option<Arc<dyn Table>>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        open(&Source { layout: Some("episodes".into()), ..Source::new(path.display().to_string()) })
    }

    #[test]
    fn an_episode_is_a_row_of_series() {
        let log = "episode,obs.x,obs.y,action,reward\n0,1,2,1,0.5\n0,3,4,0,1\n1,5,6,1,2\n";
        let table = open_text(log, "log.csv").unwrap().unwrap();
        assert_eq!(table.fields(), [OBSERVATIONS, ACTIONS, REWARDS]);
        assert_eq!((table.len(), table.steps(0), table.steps(1)), (2, 2, 1));
        let observations = table.window(0, OBSERVATIONS, 1..9).unwrap();
        assert_eq!(observations, Value::Series(vec![Value::vector([3.0, 4.0])]));
        let actions = table.value(0, ACTIONS).unwrap();
        assert_eq!(actions, Value::Series(vec![Value::Number(1.0), Value::Number(0.0)]));
        assert!(table.value(0, "speed").unwrap_err().to_string().contains(OBSERVATIONS));
        assert!(table.location(1).starts_with("episode 1 of "));
    }

    #[test]
    fn what_is_no_log_is_left_to_others_unless_it_is_named() {
        assert!(open(&Source::new("labels.csv")).unwrap().is_none());
        assert!(open_text("a,b\n1,2\n", "log.csv").is_err());
        let shipped = open(&Source::new("builtin:cartpole-mixed.npz")).unwrap().unwrap();
        assert!(shipped.len() > 100 && shipped.steps(0) > 0);
    }
}
