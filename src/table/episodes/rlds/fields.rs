//! The fields of a data set and their values.

use crate::table::episodes::fields::images;
use smalti_contract::{Array, File, Numbers, Value};
use smalti_trajectory::TrajectoryError;
use smalti_trajectory::rlds::{Feature, Features, Form, Record, Values};
use std::collections::HashSet;
use std::ops::Range;

/// The source of a field's values.
pub(super) enum Field {
    /// The numbers of all observations, concatenated.
    State(Vec<Feature>),
    Feature(Feature),
    End {
        terminal: Option<Feature>,
        last: Option<Feature>,
    },
    Task(Feature),
    Split,
}

const TERMINAL: &str = "steps/is_terminal";
const LAST: &str = "steps/is_last";
const FIRST: &str = "steps/is_first";
/// Features of the task in words; the first that a data set has is the task.
const INSTRUCTIONS: [&str; 4] = [
    "steps/language_instruction",
    "steps/observation/natural_language_instruction",
    "steps/observation/language_instruction",
    "episode_metadata/language_instruction",
];
/// Names of fields that no other feature may have.
const RESERVED: [&str; 6] = ["actions", "end", "observations", "rewards", "split", "task"];

/// The fields of these features.
pub(super) fn of(features: &Features, has_splits: bool) -> Vec<(String, Field)> {
    let find = |key: &str| features.find(key).cloned();
    let task =
        INSTRUCTIONS.into_iter().find_map(|key| features.find(key)).filter(|task| task.form == Form::Text);
    let (terminal, last) = (find(TERMINAL), find(LAST));
    let states: Vec<Feature> = features.list.iter().filter(|feature| is_state(feature)).cloned().collect();
    let mut fields: Vec<(String, Field)> = vec![];
    if !states.is_empty() {
        fields.push(("observations".into(), Field::State(states)));
    }
    let mut taken: HashSet<String> = fields.iter().map(|(name, _)| name.clone()).collect();
    for feature in &features.list {
        let elsewhere = [TERMINAL, LAST, FIRST].contains(&feature.key.as_str()) || task == Some(feature);
        if elsewhere || (is_state(feature) && feature.key == "steps/observation") {
            continue;
        }
        let name = name(feature);
        let name = if taken.contains(&name) { feature.key.replace('/', ".") } else { name };
        taken.insert(name.clone());
        fields.push((name, Field::Feature(feature.clone())));
    }
    if terminal.is_some() || last.is_some() {
        fields.push(("end".into(), Field::End { terminal, last }));
    }
    fields.extend(task.map(|task| ("task".into(), Field::Task(task.clone()))));
    fields.extend(has_splits.then(|| ("split".into(), Field::Split)));
    fields
}

/// The feature of steps whose values are counted: the smallest one.
pub(super) fn counted(features: &Features) -> Feature {
    let of_steps = || features.list.iter().filter(|feature| feature.of_steps);
    let flag = of_steps().find(|feature| [FIRST, LAST].contains(&feature.key.as_str()));
    let smallest = flag.or_else(|| of_steps().min_by_key(|feature| feature.size()));
    smallest.cloned().unwrap_or(Feature { key: FIRST.into(), of_steps: true, form: Form::Text })
}

/// The name of a feature's field.
fn name(feature: &Feature) -> String {
    let path = feature.key.replace('/', ".");
    let Some(of_step) = path.strip_prefix("steps.") else { return path };
    let (head, part) = of_step.split_once('.').unwrap_or((of_step, ""));
    let joined = |name: &str| if part.is_empty() { name.to_string() } else { format!("{name}.{part}") };
    match head {
        "observation" if is_image(feature) && !part.is_empty() && !RESERVED.contains(&part) => part.into(),
        "observation" => joined("observations"),
        "action" => joined("actions"),
        "reward" => joined("rewards"),
        _ if RESERVED.contains(&of_step) => path.clone(),
        _ => of_step.into(),
    }
}

fn is_image(feature: &Feature) -> bool {
    match &feature.form {
        Form::Image => true,
        Form::Numbers { shape, bytes } => *bytes && shape.len() > 1,
        Form::Text => false,
    }
}

/// Whether a feature is numbers of an observation.
fn is_state(feature: &Feature) -> bool {
    let observed = feature.key.strip_prefix("steps/observation");
    observed.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && feature.form != Form::Text
        && !is_image(feature)
}

impl Field {
    /// The value at some of `all` steps; for images, without their bytes unless `bytes` is set.
    pub(super) fn value(
        &self,
        record: &Record,
        all: usize,
        steps: Range<usize>,
        bytes: bool,
    ) -> Result<Value, TrajectoryError> {
        match self {
            Field::State(features) => state(features, record, all, steps),
            Field::Feature(feature) => {
                let Some(values) = record.values(feature, all)? else { return Ok(Value::Missing) };
                match feature.of_steps {
                    true => series(feature, &values, steps, bytes),
                    false => one(feature, &values, 0, bytes),
                }
            }
            Field::End { terminal, last } => {
                let set = |flag: &Option<Feature>| {
                    let Some(flag) = flag else { return Ok(false) };
                    let values = record.values(flag, all)?;
                    let flags = if let Some(Values::Numbers(flags)) = values { flags } else { vec![] };
                    Ok::<_, TrajectoryError>(flags.last() == Some(&1.0))
                };
                Ok(match (set(terminal)?, set(last)?) {
                    (true, _) => Value::Text("terminated".into()),
                    (false, true) => Value::Text("time_limit".into()),
                    (false, false) => Value::Missing,
                })
            }
            Field::Task(feature) => match record.values(feature, all)? {
                Some(values) => one(feature, &values, 0, bytes),
                None => Ok(Value::Missing),
            },
            // A value of the file, not of the record.
            Field::Split => Ok(Value::Missing),
        }
    }
}

/// The numbers of all observations at each step.
fn state(
    features: &[Feature],
    record: &Record,
    all: usize,
    steps: Range<usize>,
) -> Result<Value, TrajectoryError> {
    let mut parts = vec![];
    for feature in features {
        match record.values(feature, all)? {
            Some(Values::Numbers(numbers)) => parts.push((numbers, feature.size())),
            _ => return Ok(Value::Missing),
        }
    }
    let dim = parts.iter().map(|(_, size)| size).sum::<usize>();
    let of_step = |step: usize| {
        let numbers = parts.iter().flat_map(|(numbers, size)| &numbers[step * size..][..*size]);
        array(&numbers.copied().collect::<Vec<f64>>(), &[dim])
    };
    Ok(Value::Series(steps.map(of_step).collect()))
}

fn series(
    feature: &Feature,
    values: &Values,
    steps: Range<usize>,
    bytes: bool,
) -> Result<Value, TrajectoryError> {
    match values {
        Values::Images(frames) => Ok(images(frames, steps)),
        values => {
            Ok(Value::Series(steps.map(|step| one(feature, values, step, bytes)).collect::<Result<_, _>>()?))
        }
    }
}

/// The value at one step.
fn one(feature: &Feature, values: &Values, step: usize, bytes: bool) -> Result<Value, TrajectoryError> {
    match (values, &feature.form) {
        (Values::Numbers(numbers), Form::Numbers { shape, .. }) => {
            Ok(array(&numbers[step * feature.size()..][..feature.size()], shape))
        }
        (Values::Bytes(strings), _) if strings[step].is_empty() => Ok(Value::Missing),
        (Values::Bytes(strings), Form::Image) => {
            let bytes = if bytes { strings[step].to_vec() } else { vec![] };
            Ok(Value::File(File { name: format!("step {step}"), bytes }))
        }
        (Values::Bytes(strings), _) => match std::str::from_utf8(strings[step]) {
            Ok(text) => Ok(Value::Text(text.into())),
            Err(_) => Err(TrajectoryError::Record(format!("{}: expected text in UTF-8", feature.key))),
        },
        (Values::Images(frames), _) => match images(frames, step..step + 1) {
            Value::Series(mut frames) => Ok(frames.pop().unwrap_or_default()),
            other => Ok(other),
        },
        (Values::Numbers(_), _) => Ok(Value::Missing),
    }
}

/// Numbers of a shape; a number alone is no array.
fn array(numbers: &[f64], shape: &[usize]) -> Value {
    match numbers {
        [number] => Value::Number(*number),
        several => {
            let numbers = Numbers::F32(several.iter().map(|&number| number as f32).collect());
            Value::Array(Array { shape: shape.to_vec(), numbers })
        }
    }
}
