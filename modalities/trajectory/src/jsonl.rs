//! Episodes as JSON lines: one object a line, one episode an object.
//!
//! ```json
//! {"observations": [[0.1, 2.0], [0.2, 1.9]], "actions": [0, 1], "rewards": [1, 1], "terminated": true}
//! ```
//!
//! `actions` are discrete where they are a list of integers, continuous where they are a list of lists, or
//! of numbers among which one is written with a fraction or an exponent; `[[1], [-1]]` is the safe way to
//! write continuous actions of one number. `terminated` may be left out and is then false. Empty lines are
//! passed over.

use crate::{Actions, Episode, TrajectoryError};
use serde::Deserialize;
use serde_json::Value;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    observations: Vec<Vec<f32>>,
    /// Lists of integers, of floats or of lists, told apart in [`actions`].
    actions: Vec<Value>,
    rewards: Vec<f32>,
    #[serde(default)]
    terminated: bool,
}

/// All episodes of a file of JSON lines.
///
/// # Errors
/// [`TrajectoryError::Line`] with the number of the first line that is not an episode;
/// [`TrajectoryError::Empty`] where there is none.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    episodes(bytes).collect()
}

/// The same, each line read when it is asked for.
pub(crate) fn episodes(bytes: &[u8]) -> impl Iterator<Item = Result<Episode, TrajectoryError>> + '_ {
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let nothing = bytes.trim_ascii().is_empty().then_some(Err(TrajectoryError::Empty));
    nothing.into_iter().chain(lines.map(|(place, line)| {
        episode(line).map_err(|problem| TrajectoryError::Line { line: place + 1, problem })
    }))
}

fn episode(line: &[u8]) -> Result<Episode, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        // The message ends in a place within the line, of which "line 1" would mislead.
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        format!("column {}: {message}", error.column())
    })?;
    let (observations, state_dim) = concatenated("observations", line.observations)?;
    let actions = actions(line.actions)?;
    let episode =
        Episode { observations, state_dim, actions, rewards: line.rewards, terminated: line.terminated };
    episode.validate().map_err(|error| error.to_string())?;
    Ok(episode)
}

fn actions(values: Vec<Value>) -> Result<Actions, String> {
    if values.iter().all(|value| value.is_u64() || value.is_i64()) {
        let id = |(step, value): (usize, &Value)| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| format!("actions at step {step} is {value}; it must be from 0 to {}", u32::MAX))
        };
        return Ok(Actions::Discrete(values.iter().enumerate().map(id).collect::<Result<_, _>>()?));
    }
    let rows = values.into_iter().enumerate().map(|(step, value)| {
        let row = if value.is_number() { Value::Array(vec![value]) } else { value };
        Vec::<f32>::deserialize(row).map_err(|error| format!("actions at step {step}: {error}"))
    });
    let (values, dim) = concatenated("actions", rows.collect::<Result<_, _>>()?)?;
    Ok(Actions::Continuous { values, dim })
}

/// Rows of one width, one after the other, and the width.
fn concatenated(array: &str, rows: Vec<Vec<f32>>) -> Result<(Vec<f32>, usize), String> {
    let dim = rows.first().map_or(0, Vec::len);
    match rows.iter().position(|row| row.len() != dim) {
        None => Ok((rows.concat(), dim)),
        Some(step) => {
            let found = rows[step].len();
            Err(format!("{array} at step {step} has {found} numbers; at step 0 it has {dim}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISCRETE: &str =
        r#"{"observations": [[0.5, 2], [1, 3]], "actions": [0, 3], "rewards": [1, 1.5], "terminated": true}"#;

    #[test]
    fn actions_are_what_they_look_like() {
        let file = [
            DISCRETE,
            "",
            r#"{"observations": [[1], [2]], "actions": [[-1, 2.5], [3, 4]], "rewards": [0, 0]}"#,
            r#"{"observations": [[1], [2]], "actions": [1, 0.5], "rewards": [0, 0]}"#,
        ]
        .join("\r\n");
        let episodes = read(file.as_bytes()).unwrap();
        assert_eq!(
            episodes[0],
            Episode {
                observations: vec![0.5, 2.0, 1.0, 3.0],
                state_dim: 2,
                actions: Actions::Discrete(vec![0, 3]),
                rewards: vec![1.0, 1.5],
                terminated: true,
            }
        );
        assert_eq!(episodes[1].actions, Actions::Continuous { values: vec![-1.0, 2.5, 3.0, 4.0], dim: 2 });
        assert_eq!(episodes[2].actions, Actions::Continuous { values: vec![1.0, 0.5], dim: 1 });
        assert!(!episodes[2].terminated);
    }

    #[test]
    fn errors_carry_the_line() {
        let cases = [
            ("{", "line 3: column 1: EOF while parsing"),
            ("[]", "line 3: column"),
            (
                r#"{"observations": [[1]], "actions": [0], "rewards": [0], "colour": 1}"#,
                "line 3: column 64: unknown field",
            ),
            (r#"{"observations": [[1]], "actions": [0]}"#, "line 3: column 39: missing field `rewards`"),
            (
                r#"{"observations": [[1], [1, 2]], "actions": [0, 0], "rewards": [0, 0]}"#,
                "line 3: observations at step 1 has 2 numbers; at step 0 it has 1",
            ),
            (
                r#"{"observations": [[1]], "actions": [-1], "rewards": [0]}"#,
                "line 3: actions at step 0 is -1; it must be from 0 to 4294967295",
            ),
            (
                r#"{"observations": [[1]], "actions": ["left"], "rewards": [0]}"#,
                "line 3: actions at step 0: invalid type: string \"left\"",
            ),
            (
                r#"{"observations": [[1]], "actions": [0, 1], "rewards": [0]}"#,
                "line 3: actions must have one or more numbers for each of the 1 rewards; found 2",
            ),
            (
                r#"{"observations": [[1e99]], "actions": [0], "rewards": [0]}"#,
                "line 3: column 23: number out of range",
            ),
            (
                r#"{"observations": [], "actions": [], "rewards": []}"#,
                "line 3: rewards must have at least one",
            ),
        ];
        for (line, expected) in cases {
            let file = format!("{DISCRETE}\n\n{line}\n");
            let found = read(file.as_bytes()).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found:?} should start with {expected:?}");
        }
        assert_eq!(read(b" \n\n"), Err(TrajectoryError::Empty));
        let nested = format!("{{\"observations\": {}", "[".repeat(100_000));
        assert!(read(nested.as_bytes()).is_err());
    }
}
