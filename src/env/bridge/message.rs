//! What is said over the bridge: requests written, answers read and checked.

use super::images::{Form, images};
use super::numbers::Numbers;
use crate::env::{Action, ActionSpec, Observation, Step};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u32 = 1;

/// What an environment says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// Numbers in an observation; 0 where it is images alone.
    pub state_dim: usize,
    /// The names of its images.
    pub cameras: BTreeSet<String>,
    /// Which actions it takes.
    pub actions: ActionSpec,
    /// Steps after which an episode is truncated.
    pub max_steps: Option<usize>,
    /// How many environments there can be side by side.
    pub envs: Option<usize>,
}

/// A line that is not what it must be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON, or a field that is missing, unknown or of the wrong type.
    #[error("says {found}, where {expected} is expected: {problem}")]
    Unreadable {
        /// What was expected.
        expected: &'static str,
        /// What is wrong with it, and where.
        problem: String,
        /// How the line begins.
        found: String,
    },
    /// Another version of the protocol.
    #[error("speaks version {0} of the protocol; this build speaks version {PROTOCOL}")]
    Version(u64),
    /// A field with a value that it cannot have.
    #[error("{field} {problem}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it must be, and what was found.
        problem: String,
    },
    /// An error of its own.
    #[error("reports an error: {0}")]
    Reported(String),
}

const HELLO: &str =
    r#"the greeting {"hello": {"protocol": 1, "observation": …, "action": …, "max_steps": …, "envs": …}}"#;
const SEEN: &str = r#"an answer to reset {"env": …, "observation": …}"#;
const STEP: &str =
    r#"an answer to step {"env": …, "observation": …, "reward": …, "terminated": …, "truncated": …}"#;

/// How much of a line is shown in an error.
const SHOWN: usize = 120;

#[derive(Deserialize)]
struct Versioned {
    hello: Version,
}

#[derive(Deserialize)]
struct Version {
    protocol: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting {
    hello: Fields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(rename = "protocol")]
    _protocol: u64,
    observation: Option<Size>,
    #[serde(default)]
    images: Vec<String>,
    action: ActionFields,
    max_steps: Option<usize>,
    envs: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`observation` must be a whole number, or an object of them")]
enum Size {
    One(usize),
    Parts(BTreeMap<String, usize>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ActionFields {
    Discrete(u32),
    Continuous { low: Vec<Option<f32>>, high: Vec<Option<f32>> },
    Parts(BTreeMap<String, ActionFields>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    env: Option<usize>,
    #[serde(default)]
    observation: Numbers,
    #[serde(default)]
    images: BTreeMap<String, Form>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stepped {
    env: Option<usize>,
    #[serde(default)]
    observation: Numbers,
    #[serde(default)]
    images: BTreeMap<String, Form>,
    reward: f64,
    terminated: bool,
    truncated: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reported {
    error: String,
}

impl Hello {
    /// Reads the greeting.
    ///
    /// # Errors
    /// [`MessageError`], which says what is wrong with the line.
    pub fn read(line: &[u8]) -> Result<Self, MessageError> {
        if let Ok(Versioned { hello: Version { protocol } }) = serde_json::from_slice(line)
            && protocol != u64::from(PROTOCOL)
        {
            return Err(MessageError::Version(protocol));
        }
        let Greeting { hello } = read(line, HELLO)?;
        let state_dim = match hello.observation {
            None if hello.images.is_empty() => {
                let problem = "is missing: say how many numbers there are, or which `images`".into();
                return Err(MessageError::Value { field: "observation", problem });
            }
            None => 0,
            Some(Size::One(numbers)) => at_least_one("observation", numbers)?,
            Some(Size::Parts(parts)) => {
                let numbers = parts.into_values().try_fold(0_usize, usize::checked_add);
                at_least_one("observation", numbers.unwrap_or(0))?
            }
        };
        let named = hello.images.len();
        let cameras: BTreeSet<String> = hello.images.into_iter().collect();
        if cameras.len() != named {
            let problem =
                format!("must each have a name of its own; found {named} of {} names", cameras.len());
            return Err(MessageError::Value { field: "images", problem });
        }
        let max_steps = hello.max_steps.map(|steps| at_least_one("max_steps", steps)).transpose()?;
        let envs = hello.envs.map(|envs| at_least_one("envs", envs)).transpose()?;
        Ok(Self { state_dim, cameras, actions: hello.action.spec()?, max_steps, envs })
    }
}

impl ActionFields {
    fn spec(self) -> Result<ActionSpec, MessageError> {
        let refuse = |problem: String| Err(MessageError::Value { field: "action", problem });
        let (low, high) = match self {
            Self::Discrete(n) => {
                at_least_one("action", n as usize)?;
                return Ok(ActionSpec::Discrete { n });
            }
            Self::Parts(parts) => {
                at_least_one("action", parts.len())?;
                let specs = parts.into_iter().map(|(name, part)| Ok((name, part.spec()?)));
                return Ok(ActionSpec::Parts(specs.collect::<Result<_, _>>()?));
            }
            Self::Continuous { low, high } => (low, high),
        };
        if low.is_empty() || low.len() != high.len() {
            return refuse(format!(
                "has {} low and {} high; both must be the same and not 0",
                low.len(),
                high.len()
            ));
        }
        let low: Vec<f32> = low.into_iter().map(|bound| bound.unwrap_or(f32::NEG_INFINITY)).collect();
        let high: Vec<f32> = high.into_iter().map(|bound| bound.unwrap_or(f32::INFINITY)).collect();
        match low.iter().zip(&high).find(|(low, high)| low > high) {
            Some((low, high)) => refuse(format!("goes from {low} to {high}; bounds must be in order")),
            None => Ok(ActionSpec::Continuous { low, high }),
        }
    }
}

/// The answer to [`reset`]: what is seen first in environment `env`, of the sort that it said of itself.
///
/// # Errors
/// [`MessageError`], which says what is wrong with the line.
pub fn first_seen(line: &[u8], env: usize, hello: &Hello) -> Result<Observation, MessageError> {
    let Seen { env: of, observation, images: forms } = read(line, SEEN)?;
    answers(of, env)?;
    Ok(Observation { state: state(observation, hello.state_dim)?, images: images(forms, &hello.cameras)? })
}

/// The answer to [`step`]: what the action in environment `env` led to.
///
/// # Errors
/// [`MessageError`], which says what is wrong with the line.
pub fn next_step(line: &[u8], env: usize, hello: &Hello) -> Result<Step, MessageError> {
    let Stepped { env: of, observation, images: forms, reward, terminated, truncated } = read(line, STEP)?;
    answers(of, env)?;
    let state = state(observation, hello.state_dim)?;
    let seen = Observation { state, images: images(forms, &hello.cameras)? };
    if !(reward as f32).is_finite() {
        let problem = format!("must be a finite number; found {reward}");
        return Err(MessageError::Value { field: "reward", problem });
    }
    Ok(Step { seen, reward: reward as f32, terminated, truncated })
}

/// The request for a new episode in environment `env`, a line.
pub fn reset(env: usize, seed: u64) -> Vec<u8> {
    format!("{{\"env\": {env}, \"reset\": {{\"seed\": {seed}}}}}\n").into_bytes()
}

/// The request to act in environment `env`, a line. The numbers of an action are finite.
pub fn step(env: usize, action: &Action) -> Vec<u8> {
    let action = json(action);
    format!("{{\"env\": {env}, \"step\": {{\"action\": {action}}}}}\n").into_bytes()
}

fn json(action: &Action) -> String {
    match action {
        Action::Discrete(number) => number.to_string(),
        Action::Continuous(values) => format!("{values:?}"), // finite numbers are written as in JSON
        Action::Parts(parts) => {
            let quoted = |name: &str| serde_json::Value::from(name).to_string();
            let parts = parts.iter().map(|(name, part)| format!("{}: {}", quoted(name), json(part)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The request to end, a line.
pub fn close() -> Vec<u8> {
    b"{\"close\": {}}\n".to_vec()
}

fn read<T: DeserializeOwned>(line: &[u8], expected: &'static str) -> Result<T, MessageError> {
    serde_json::from_slice(line).map_err(|error| {
        if let Ok(Reported { error }) = serde_json::from_slice(line) {
            return MessageError::Reported(error);
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        let found = match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{:?} …", &text[..end]),
            None => format!("{text:?}"),
        };
        let no_number = ["NaN", "Infinity", "nan", "inf"].iter().any(|name| text.contains(name));
        let problem = match error.is_syntax() && no_number {
            true => format!("JSON has neither NaN nor infinity, and numbers must be finite ({error})"),
            false => error.to_string(),
        };
        MessageError::Unreadable { expected, problem, found }
    })
}

fn at_least_one(field: &'static str, number: usize) -> Result<usize, MessageError> {
    match number {
        0 => Err(MessageError::Value { field, problem: "must be at least 1; found 0".into() }),
        _ => Ok(number),
    }
}

fn answers(found: Option<usize>, expected: usize) -> Result<(), MessageError> {
    match found {
        Some(found) if found != expected => {
            let problem = format!("must be {expected}, in the order of the requests; found {found}");
            Err(MessageError::Value { field: "env", problem })
        }
        _ => Ok(()),
    }
}

fn state(Numbers(numbers): Numbers, state_dim: usize) -> Result<Vec<f32>, MessageError> {
    let refuse = |problem| Err(MessageError::Value { field: "observation", problem });
    if numbers.len() != state_dim {
        return refuse(format!("must have {state_dim} numbers, as was said; found {}", numbers.len()));
    }
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(at) => refuse(format!("holds {} at place {at}; it must be finite", numbers[at])),
        None => Ok(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Image;

    fn hello(fields: &str) -> Result<Hello, String> {
        let line = format!("{{\"hello\": {{\"protocol\": 1, {fields}}}}}\n");
        Hello::read(line.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_greeting_says_what_is_seen_and_done() {
        let found = hello(r#""observation": {"b": 2, "a": 3}, "action": {"discrete": 4}, "envs": 2"#);
        let actions = ActionSpec::Discrete { n: 4 };
        let cameras = BTreeSet::new();
        assert_eq!(found, Ok(Hello { state_dim: 5, cameras, actions, max_steps: None, envs: Some(2) }));
        let parts =
            r#"{"parts": {"grip": {"discrete": 2}, "arm": {"continuous": {"low": [null], "high": [1]}}}}"#;
        let found = hello(&format!(r#""observation": 1, "action": {parts}, "max_steps": 9"#)).unwrap();
        let arm = ActionSpec::Continuous { low: vec![f32::NEG_INFINITY], high: vec![1.0] };
        let grip = ActionSpec::Discrete { n: 2 };
        assert_eq!(found.actions, ActionSpec::Parts([("arm".into(), arm), ("grip".into(), grip)].into()));
        assert_eq!((found.max_steps, found.envs), (Some(9), None));
    }

    #[test]
    fn a_greeting_that_cannot_be() {
        let action = r#""action": {"discrete": 2}"#;
        let cases = [
            (format!(r#""observation": 0, {action}"#), "observation must be at least 1; found 0"),
            (
                format!(r#""observation": "many", {action}"#),
                "`observation` must be a whole number, or an object",
            ),
            (format!(r#""observation": 4, {action}, "max_steps": 0"#), "max_steps must be at least 1"),
            (format!(r#""observation": 4, {action}, "envs": 0"#), "envs must be at least 1; found 0"),
            (format!(r#""observation": 4, {action}, "colour": 1"#), "unknown field `colour`"),
            (action.into(), "observation is missing: say how many numbers there are, or which `images`"),
            (
                format!(r#""images": ["a", "a"], {action}"#),
                "images must each have a name of its own; found 2 of 1",
            ),
            (r#""observation": 4"#.into(), "missing field `action`"),
            (r#""observation": 4, "action": {"discrete": 0}"#.into(), "action must be at least 1; found 0"),
            (r#""observation": 4, "action": {"parts": {}}"#.into(), "action must be at least 1; found 0"),
            (
                r#""observation": 4, "action": {"continuous": {"low": [0, 0], "high": [1]}}"#.into(),
                "action has 2 low and 1 high; both must be the same and not 0",
            ),
            (
                r#""observation": 4, "action": {"continuous": {"low": [2], "high": [1]}}"#.into(),
                "action goes from 2 to 1; bounds must be in order",
            ),
            (r#""observation": 4, "action": {"joystick": 1}"#.into(), "unknown variant `joystick`"),
        ];
        for (fields, says) in cases {
            let found = hello(&fields).unwrap_err();
            assert!(found.contains(says), "{fields}: expected {says:?} in: {found}");
        }
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let line = "é".repeat(1000);
        let eye = hello(r#""observation": 1, "action": {"discrete": 2}"#).unwrap();
        let found = first_seen(line.as_bytes(), 0, &eye).unwrap_err().to_string();
        assert!(found.starts_with(&format!("says \"{}\" …, where", "é".repeat(SHOWN))), "{found}");
    }

    #[test]
    fn images_are_seen_beside_numbers_or_alone() {
        let eye = hello(r#""images": ["front"], "action": {"discrete": 2}"#).unwrap();
        assert_eq!((eye.state_dim, eye.cameras.first().map(String::as_str)), (0, Some("front")));
        let seen = |images: &str| {
            let line = format!("{{\"env\": 0, \"images\": {images}}}");
            first_seen(line.as_bytes(), 0, &eye).map_err(|e| e.to_string())
        };
        let pixels = |pixels: &str| {
            seen(&format!(r#"{{"front": {{"height": 1, "width": 2, "channels": 1, "pixels": "{pixels}"}}}}"#))
        };
        let grey = Image::Pixels { height: 1, width: 2, channels: 1, pixels: vec![0, 255] };
        assert_eq!(pixels("AP8=").unwrap().images, [("front".to_string(), grey)].into());
        let png = Image::Encoded(b"\x89PNG".to_vec());
        assert_eq!(seen(r#"{"front": {"encoded": "iVBORw=="}}"#).unwrap().images["front"], png);
        for (found, says) in [
            (pixels("AAAA"), "images of front must have 1×2×1 bytes; found 3"),
            (pixels("AA"), "not base64"),
            (seen("{}"), "images must be of front, as was said; found none"),
            (
                seen(r#"{"side": {"encoded": "iVBORw=="}}"#),
                "images must be of front, as was said; found side",
            ),
            (
                seen(r#"{"front": {"encoded": "iVBORw==", "height": 1}}"#),
                "an image must be {\"height\", \"width\"",
            ),
            (seen(r#"{"front": {"height": 1, "width": 2}}"#), "an image must be {\"height\", \"width\""),
        ] {
            let found = found.unwrap_err();
            assert!(found.contains(says), "expected {says:?} in: {found}");
        }
    }

    #[test]
    fn requests_are_lines_of_json() {
        assert_eq!(reset(3, u64::MAX), b"{\"env\": 3, \"reset\": {\"seed\": 18446744073709551615}}\n");
        let numbers = Action::Continuous(vec![-1.0, 1e-9, 0.1, 3e8]);
        let parts = [("a \"hand\"".to_string(), Action::Discrete(2)), ("arm".to_string(), numbers)];
        let line = step(0, &Action::Parts(parts.into()));
        assert_eq!(line.last(), Some(&b'\n'));
        let found: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let action = serde_json::json!({"a \"hand\"": 2, "arm": [-1.0, 1e-9, 0.1, 3e8]});
        assert_eq!(found, serde_json::json!({"env": 0, "step": {"action": action}}));
    }
}
