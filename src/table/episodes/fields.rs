//! The fields of episodes and their values.

use smalti_contract::{Array, File, Numbers, Value};
use smalti_trajectory::{Actions, End, Episode, Image, Images};
use std::collections::HashSet;
use std::ops::Range;

/// The most parts of a state that are fields of their own; with more, the state is one field.
const MOST_SENSORS: usize = 1024;

/// The source of a field's values.
pub(super) enum Field {
    Observations,
    /// The numbers of the state whose names begin with this word.
    Sensor(String),
    Camera(String),
    /// A camera whose images are in video files.
    Video(String),
    Actions,
    /// One of several actions.
    Action(String),
    Rewards,
    End,
    Task,
    Split,
}

/// The fields of these episodes, and of cameras whose images are in video files.
pub(super) fn of<'a>(
    episodes: impl Iterator<Item = &'a Episode>,
    videos: impl Iterator<Item = &'a String>,
) -> Vec<(String, Field)> {
    let (mut states, mut cameras, mut rest) = (Found::default(), Found::default(), Found::default());
    for episode in episodes {
        if episode.state_dim > 0 {
            add(&mut states, "observations".into(), || Field::Observations);
        }
        for sensor in sensors(&episode.state_names) {
            add(&mut states, format!("observations.{sensor}"), || Field::Sensor(sensor.into()));
        }
        for camera in episode.images.keys() {
            add(&mut cameras, camera_name(camera), || Field::Camera(camera.clone()));
        }
        match &episode.actions {
            Actions::Parts(parts) => {
                for part in parts.keys() {
                    add(&mut rest, format!("actions.{part}"), || Field::Action(part.clone()));
                }
            }
            Actions::Discrete(_) | Actions::Continuous { .. } => {
                add(&mut rest, "actions".into(), || Field::Actions);
            }
        }
        if !episode.rewards.is_empty() {
            add(&mut rest, "rewards".into(), || Field::Rewards);
        }
        if episode.end != End::Unknown {
            add(&mut rest, "end".into(), || Field::End);
        }
    }
    for camera in videos {
        add(&mut cameras, camera_name(camera), || Field::Video(camera.clone()));
    }
    [states, cameras, rest].into_iter().flat_map(|found| found.fields).collect()
}

/// The name of a camera's field, which no other field has.
fn camera_name(camera: &str) -> String {
    match camera {
        "" => "observations".into(),
        "actions" | "end" | "rewards" | "split" | "task" => format!("observations.{camera}"),
        camera => camera.into(),
    }
}

/// Fields in the order in which they were found.
#[derive(Default)]
struct Found {
    fields: Vec<(String, Field)>,
    names: HashSet<String>,
}

fn add(found: &mut Found, name: String, field: impl Fn() -> Field) {
    if found.names.insert(name.clone()) {
        found.fields.push((name, field()));
    }
}

/// The first words of the names of a state's numbers, if they are several and the numbers of each word are adjacent.
fn sensors(names: &[String]) -> Vec<&str> {
    let (mut words, mut seen): (Vec<&str>, _) = (vec![], HashSet::new());
    for (number, name) in names.iter().enumerate() {
        if number > 0 && word(&names[number - 1]) == word(name) {
            continue;
        }
        if !seen.insert(word(name)) || words.len() == MOST_SENSORS {
            return vec![];
        }
        words.push(word(name));
    }
    if words.len() > 1 { words } else { vec![] }
}

fn word(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl Field {
    /// The values at these steps of an episode; for images in separate files, without their bytes.
    pub(super) fn value(&self, episode: &Episode, steps: Range<usize>) -> Value {
        let all = episode.len();
        let steps = steps.start.min(all)..steps.end.min(all);
        match self {
            Field::Observations => {
                vectors(&episode.observations, episode.state_dim, 0..episode.state_dim, steps)
            }
            Field::Sensor(sensor) => {
                let of_sensor = |name: &&String| word(name) == sensor;
                let Some(start) = episode.state_names.iter().position(|name| of_sensor(&name)) else {
                    return Value::Missing;
                };
                let n = episode.state_names[start..].iter().take_while(of_sensor).count();
                vectors(&episode.observations, episode.state_dim, start..start + n, steps)
            }
            Field::Camera(camera) => {
                episode.images.get(camera).map_or(Value::Missing, |all| images(all, steps))
            }
            Field::Actions => actions(&episode.actions, steps),
            Field::Action(part) => {
                episode.actions.part(part).map_or(Value::Missing, |part| actions(part, steps))
            }
            Field::Rewards if episode.rewards.is_empty() => Value::Missing,
            Field::Rewards => vectors(&episode.rewards, 1, 0..1, steps),
            Field::End => match episode.end {
                End::Terminated => Value::Text("terminated".into()),
                End::TimeLimit => Value::Text("time_limit".into()),
                End::Unknown => Value::Missing,
            },
            // Values of the row, not of the episode.
            Field::Video(_) | Field::Task | Field::Split => Value::Missing,
        }
    }
}

/// The numbers `of_step` of the `dim` numbers of each step: a number, or an array if they are several.
fn vectors(numbers: &[f32], dim: usize, of_step: Range<usize>, steps: Range<usize>) -> Value {
    if dim == 0 {
        return Value::Missing;
    }
    let step = |step: usize| match &numbers[step * dim..][of_step.clone()] {
        [number] => Value::Number(f64::from(*number)),
        several => Value::vector(several),
    };
    Value::Series(steps.map(step).collect())
}

fn actions(actions: &Actions, steps: Range<usize>) -> Value {
    match actions {
        Actions::Discrete(choices) => {
            Value::Series(choices[steps].iter().map(|choice| Value::Number(f64::from(*choice))).collect())
        }
        Actions::Continuous { values, dim } => vectors(values, *dim, 0..*dim, steps),
        Actions::Parts(_) => Value::Missing,
    }
}

pub(super) fn images(images: &Images, steps: Range<usize>) -> Value {
    let image = |step: usize| match images.get(step) {
        Some(Image::Frame { height, width, channels, pixels }) => {
            let shape = if channels == 1 { vec![height, width] } else { vec![height, width, channels] };
            Value::Array(Array { shape, numbers: Numbers::U8(pixels.to_vec()) })
        }
        Some(Image::Encoded(bytes)) => {
            Value::File(File { name: format!("step {step}"), bytes: bytes.to_vec() })
        }
        Some(Image::File(path)) => Value::File(File { name: path.into(), bytes: vec![] }),
        None => Value::Missing,
    };
    Value::Series(steps.map(image).collect())
}
