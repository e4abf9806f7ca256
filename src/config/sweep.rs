//! The runs of a sweep: every combination of the values of some settings.

use super::SettingsError;
use std::collections::BTreeSet;

/// One combination of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepPoint {
    /// The values by the last names of their settings, for a folder: `d_model=64,seed=1`.
    pub name: String,
    /// The values as overrides: `model.d_model=64`.
    pub overrides: Vec<String>,
}

/// The most runs of a sweep.
const MOST_RUNS: usize = 10_000;
/// The most bytes of the name of a folder.
const LONGEST_NAME: usize = 200;

/// The combinations of all values of `KEY=VALUE,VALUE…`; those of the last setting change first. A comma within brackets,
/// braces or quotes is part of a value: `data.concat=[1,2],[3,6]`.
///
/// # Errors
/// [`SettingsError::Sweep`], which names the setting.
pub fn sweep_points(sweeps: &[String]) -> Result<Vec<SweepPoint>, SettingsError> {
    let axes = sweeps.iter().map(|text| axis(text)).collect::<Result<Vec<_>, _>>()?;
    let mut keys = BTreeSet::new();
    for ((key, _), text) in axes.iter().zip(sweeps) {
        if !keys.insert(*key) {
            return Err(error(text, "expected each setting once; add the values to those of the other"));
        }
    }
    let runs = axes.iter().try_fold(1_usize, |runs, (_, values)| runs.checked_mul(values.len()));
    if runs.is_none_or(|runs| runs > MOST_RUNS) {
        return Err(error(&sweeps.join(" "), &format!("expected at most {MOST_RUNS} runs")));
    }
    let mut points = vec![vec![]];
    for (key, values) in &axes {
        let extended =
            |point: Vec<_>| values.iter().map(move |value| [&point[..], &[(*key, *value)]].concat());
        points = points.into_iter().flat_map(extended).collect();
    }
    let points: Vec<SweepPoint> = points.iter().map(|values| point(values, &axes)).collect();
    let mut names = BTreeSet::new();
    for SweepPoint { name, overrides } in &points {
        let problem = match name.len() > LONGEST_NAME {
            true => format!("expected a folder name of at most {LONGEST_NAME} bytes; found {name}"),
            false if !names.insert(name) => {
                format!("expected values with different names; found {name} twice")
            }
            false => continue,
        };
        return Err(error(&overrides.join(" "), &problem));
    }
    Ok(points)
}

fn error(text: &str, problem: &str) -> SettingsError {
    SettingsError::Sweep { text: text.into(), problem: problem.into() }
}

/// A setting and its values.
type Axis<'a> = (&'a str, Vec<&'a str>);

fn axis(text: &str) -> Result<Axis<'_>, SettingsError> {
    let expected = "expected KEY=VALUE,VALUE… with a value before and after each comma";
    let (key, values) = text.split_once('=').ok_or_else(|| error(text, expected))?;
    let (key, values) = (key.trim(), values_of(values));
    match key.is_empty() || values.iter().any(|value| value.is_empty()) {
        true => Err(error(text, expected)),
        false => Ok((key, values)),
    }
}

/// The values between the commas outside of brackets, braces and quotes.
fn values_of(text: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut start, mut values) = (0_usize, None, 0, vec![]);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                values.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    values.push(text[start..].trim());
    values
}

fn point(values: &[(&str, &str)], axes: &[Axis]) -> SweepPoint {
    fn last(key: &str) -> &str {
        key.rsplit('.').next().unwrap_or(key)
    }
    // The whole key, if two settings end alike.
    let name_of = |key: &str| match axes.iter().filter(|(other, _)| last(other) == last(key)).count() {
        1 => last(key).to_string(),
        _ => key.to_string(),
    };
    let names = values.iter().map(|(key, value)| format!("{}={}", name_of(key), for_folder(value)));
    let name = names.collect::<Vec<_>>().join(",");
    SweepPoint { name, overrides: values.iter().map(|(key, value)| format!("{key}={value}")).collect() }
}

/// A value without quotes and without characters that a file system may refuse.
fn for_folder(value: &str) -> String {
    let kept = value.chars().filter(|character| !matches!(character, '"' | '\''));
    let allowed = |character: char| character.is_alphanumeric() || "._-+[]".contains(character);
    kept.map(|character| if allowed(character) { character } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(sweeps: &[&str]) -> Result<Vec<SweepPoint>, String> {
        let sweeps: Vec<String> = sweeps.iter().map(|text| text.to_string()).collect();
        sweep_points(&sweeps).map_err(|error| error.to_string())
    }

    fn names(sweeps: &[&str]) -> Vec<String> {
        points(sweeps).unwrap().into_iter().map(|point| point.name).collect()
    }

    #[test]
    fn a_sweep_has_every_combination() {
        let expected = ["d_model=64,seed=1", "d_model=64,seed=2", "d_model=128,seed=1", "d_model=128,seed=2"];
        assert_eq!(names(&["model.d_model=64, 128", "train.seed=1,2"]), expected);
        let first = &points(&["model.d_model=64", "train.seed=1"]).unwrap()[0];
        assert_eq!(first.overrides, ["model.d_model=64", "train.seed=1"]);
        assert_eq!(names(&[]), [""]);
    }

    #[test]
    fn a_comma_in_a_value_is_part_of_it() {
        let overrides = |sweep| points(&[sweep]).unwrap().into_iter().flat_map(|point| point.overrides);
        let found: Vec<String> = overrides("data.concat=[1,2],[3, 6]").collect();
        assert_eq!(found, ["data.concat=[1,2]", "data.concat=[3, 6]"]);
        let found: Vec<String> = overrides("a={ x = 1, y = 2 },\"b,c\",'d,e'").collect();
        assert_eq!(found, ["a={ x = 1, y = 2 }", "a=\"b,c\"", "a='d,e'"]);
        assert_eq!(names(&["data.concat=[1,2],[3,6]"]), ["concat=[1_2]", "concat=[3_6]"]);
        assert_eq!(names(&["data.source=a/b.txt,\"c d.txt\""]), ["source=a_b.txt", "source=c_d.txt"]);
    }

    #[test]
    fn settings_that_end_alike_have_whole_names() {
        assert_eq!(names(&["mix.a.weight=1", "mix.b.weight=2"]), ["mix.a.weight=1,mix.b.weight=2"]);
    }

    #[test]
    fn sweeps_that_cannot_be_are_named() {
        for (sweep, problem) in [
            (&["train.seed"][..], "--sweep \"train.seed\": expected KEY=VALUE"),
            (&["train.seed=1,"], "a value before and after each comma"),
            (&["=1"], "expected KEY=VALUE"),
            (&["train.seed=1", "train.seed=2"], "expected each setting once"),
            (&["train.seed=1,1"], "found seed=1 twice"),
            (&["data.source=a/b,a_b"], "found source=a_b twice"),
        ] {
            let found = points(sweep).unwrap_err();
            assert!(found.contains(problem), "{found}");
        }
        let many = (0..101).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        let many = [format!("train.seed={many}"), format!("model.d_model={many}")];
        assert!(sweep_points(&many).unwrap_err().to_string().contains("expected at most 10000 runs"));
        let long = points(&[&format!("data.source={}", "x".repeat(300))]).unwrap_err();
        assert!(long.contains("at most 200 bytes"), "{long}");
    }
}
