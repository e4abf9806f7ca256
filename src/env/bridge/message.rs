//! The messages of the bridge: requests are written, answers are read and checked.

use super::images::{Form, images};
use super::numbers::Numbers;
use crate::env::{Action, ActionSpec, Observation, Step};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// The greeting: an environment's observations, actions and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// Numbers in an observation; 0 if it is images alone.
    pub state_dim: usize,
    /// The names of the images in an observation.
    pub cameras: BTreeSet<String>,
    /// The actions that it accepts.
    pub actions: ActionSpec,
    /// Steps after which an episode is truncated.
    pub max_steps: Option<usize>,
    /// The largest number of environments side by side; `None` for no limit.
    pub envs: Option<usize>,
}

/// A line that breaks the protocol.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON, or a field that is missing, unknown or of the wrong type.
    #[error("expected {expected}; found {found}: {problem}")]
    Unreadable {
        /// The expected message.
        expected: &'static str,
        /// The problem, and its place in the line.
        problem: String,
        /// The beginning of the line.
        found: String,
    },
    /// Another version of the protocol.
    #[error("protocol: expected version {PROTOCOL}; found {0}")]
    Version(u64),
    /// A field with an invalid value.
    #[error("{field}: {problem}")]
    Value {
        /// The field.
        field: &'static str,
        /// The expected value and the value found.
        problem: String,
    },
    /// An error that the environment reports.
    #[error("reports an error: {0}")]
    Reported(String),
}

const GREETING: &str =
    r#"the greeting {"hello": {"protocol": 1, "observation": …, "action": …, "max_steps": …, "envs": …}}"#;
const RESET_ANSWER: &str = r#"an answer to reset {"env": …, "observation": …}"#;
const STEP_ANSWER: &str =
    r#"an answer to step {"env": …, "observation": …, "reward": …, "terminated": …, "truncated": …}"#;

/// Characters of a line that are shown in an error.
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
#[serde(untagged, expecting = "expected `observation` to be a whole number, or an object of whole numbers")]
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
struct ResetAnswer {
    env: Option<usize>,
    #[serde(default)]
    observation: Numbers,
    #[serde(default)]
    images: BTreeMap<String, Form>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepAnswer {
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
    /// [`MessageError`], which names the problem of the line.
    pub fn read(line: &[u8]) -> Result<Self, MessageError> {
        if let Ok(Versioned { hello: Version { protocol } }) = serde_json::from_slice(line)
            && protocol != u64::from(PROTOCOL)
        {
            return Err(MessageError::Version(protocol));
        }
        let Greeting { hello } = read(line, GREETING)?;
        let state_dim = match hello.observation {
            None if hello.images.is_empty() => {
                let problem = "expected the number of values, or `images`; found neither".into();
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
            let problem = format!("expected distinct names; found {} in {named} names", cameras.len());
            return Err(MessageError::Value { field: "images", problem });
        }
        let max_steps = hello.max_steps.map(|steps| at_least_one("max_steps", steps)).transpose()?;
        let envs = hello.envs.map(|envs| at_least_one("envs", envs)).transpose()?;
        Ok(Self { state_dim, cameras, actions: hello.action.spec()?, max_steps, envs })
    }
}

impl ActionFields {
    fn spec(self) -> Result<ActionSpec, MessageError> {
        let fail = |problem: String| Err(MessageError::Value { field: "action", problem });
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
            return fail(format!(
                "expected as many values in low as in high, at least 1; found {} and {}",
                low.len(),
                high.len()
            ));
        }
        let low: Vec<f32> = low.into_iter().map(|bound| bound.unwrap_or(f32::NEG_INFINITY)).collect();
        let high: Vec<f32> = high.into_iter().map(|bound| bound.unwrap_or(f32::INFINITY)).collect();
        match low.iter().zip(&high).find(|(low, high)| low > high) {
            Some((low, high)) => fail(format!("expected low to be at most high; found {low} and {high}")),
            None => Ok(ActionSpec::Continuous { low, high }),
        }
    }
}

/// Reads the answer to [`reset`]: the first observation of environment `env`.
///
/// # Errors
/// [`MessageError`], which names the problem of the line.
pub fn first_observation(line: &[u8], env: usize, hello: &Hello) -> Result<Observation, MessageError> {
    let ResetAnswer { env: answered, observation, images: forms } = read(line, RESET_ANSWER)?;
    check_env(answered, env)?;
    Ok(Observation { state: state(observation, hello.state_dim)?, images: images(forms, &hello.cameras)? })
}

/// Reads the answer to [`step`] of environment `env`.
///
/// # Errors
/// [`MessageError`], which names the problem of the line.
pub fn next_step(line: &[u8], env: usize, hello: &Hello) -> Result<Step, MessageError> {
    let StepAnswer { env: answered, observation, images: forms, reward, terminated, truncated } =
        read(line, STEP_ANSWER)?;
    check_env(answered, env)?;
    let state = state(observation, hello.state_dim)?;
    let observation = Observation { state, images: images(forms, &hello.cameras)? };
    if !(reward as f32).is_finite() {
        let problem = format!("expected a finite number; found {reward}");
        return Err(MessageError::Value { field: "reward", problem });
    }
    Ok(Step { observation, reward: reward as f32, terminated, truncated })
}

/// The line that requests a new episode in environment `env`.
pub fn reset(env: usize, seed: u64) -> Vec<u8> {
    format!("{{\"env\": {env}, \"reset\": {{\"seed\": {seed}}}}}\n").into_bytes()
}

/// The line that requests a step in environment `env`. The numbers of the action are finite.
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

/// The line that requests the end of the process.
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
            true => format!("expected finite numbers; JSON has neither NaN nor infinity ({error})"),
            false => error.to_string(),
        };
        MessageError::Unreadable { expected, problem, found }
    })
}

fn at_least_one(field: &'static str, number: usize) -> Result<usize, MessageError> {
    match number {
        0 => Err(MessageError::Value { field, problem: "expected at least 1; found 0".into() }),
        _ => Ok(number),
    }
}

fn check_env(found: Option<usize>, expected: usize) -> Result<(), MessageError> {
    match found {
        Some(found) if found != expected => {
            let problem = format!("expected {expected}, in the order of the requests; found {found}");
            Err(MessageError::Value { field: "env", problem })
        }
        _ => Ok(()),
    }
}

fn state(Numbers(numbers): Numbers, state_dim: usize) -> Result<Vec<f32>, MessageError> {
    let fail = |problem| Err(MessageError::Value { field: "observation", problem });
    if numbers.len() != state_dim {
        return fail(format!("expected {state_dim} numbers, as in the greeting; found {}", numbers.len()));
    }
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(at) => fail(format!("expected finite numbers; found {} at index {at}", numbers[at])),
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
    fn a_greeting_declares_observations_and_actions() {
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
    fn invalid_greetings_are_errors() {
        let action = r#""action": {"discrete": 2}"#;
        let cases = [
            (format!(r#""observation": 0, {action}"#), "observation: expected at least 1; found 0"),
            (
                format!(r#""observation": "many", {action}"#),
                "expected `observation` to be a whole number, or an object",
            ),
            (format!(r#""observation": 4, {action}, "max_steps": 0"#), "max_steps: expected at least 1"),
            (format!(r#""observation": 4, {action}, "envs": 0"#), "envs: expected at least 1; found 0"),
            (format!(r#""observation": 4, {action}, "colour": 1"#), "unknown field `colour`"),
            (action.into(), "observation: expected the number of values, or `images`; found neither"),
            (
                format!(r#""images": ["a", "a"], {action}"#),
                "images: expected distinct names; found 1 in 2 names",
            ),
            (r#""observation": 4"#.into(), "missing field `action`"),
            (r#""observation": 4, "action": {"discrete": 0}"#.into(), "action: expected at least 1; found 0"),
            (r#""observation": 4, "action": {"parts": {}}"#.into(), "action: expected at least 1; found 0"),
            (
                r#""observation": 4, "action": {"continuous": {"low": [0, 0], "high": [1]}}"#.into(),
                "action: expected as many values in low as in high, at least 1; found 2 and 1",
            ),
            (
                r#""observation": 4, "action": {"continuous": {"low": [2], "high": [1]}}"#.into(),
                "action: expected low to be at most high; found 2 and 1",
            ),
            (r#""observation": 4, "action": {"joystick": 1}"#.into(), "unknown variant `joystick`"),
        ];
        for (fields, expected) in cases {
            let found = hello(&fields).unwrap_err();
            assert!(found.contains(expected), "{fields}: expected {expected:?} in: {found}");
        }
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let line = "é".repeat(1000);
        let camera = hello(r#""observation": 1, "action": {"discrete": 2}"#).unwrap();
        let found = first_observation(line.as_bytes(), 0, &camera).unwrap_err().to_string();
        assert!(found.contains(&format!("; found \"{}\" …: ", "é".repeat(SHOWN))), "{found}");
    }

    #[test]
    fn observations_hold_images_with_or_without_numbers() {
        let camera = hello(r#""images": ["front"], "action": {"discrete": 2}"#).unwrap();
        assert_eq!((camera.state_dim, camera.cameras.first().map(String::as_str)), (0, Some("front")));
        let observe = |images: &str| {
            let line = format!("{{\"env\": 0, \"images\": {images}}}");
            first_observation(line.as_bytes(), 0, &camera).map_err(|e| e.to_string())
        };
        let pixels = |pixels: &str| {
            observe(&format!(
                r#"{{"front": {{"height": 1, "width": 2, "channels": 1, "pixels": "{pixels}"}}}}"#
            ))
        };
        let grey = Image::Pixels { height: 1, width: 2, channels: 1, pixels: vec![0, 255] };
        assert_eq!(pixels("AP8=").unwrap().images, [("front".to_string(), grey)].into());
        let png = Image::Encoded(b"\x89PNG".to_vec());
        assert_eq!(observe(r#"{"front": {"encoded": "iVBORw=="}}"#).unwrap().images["front"], png);
        for (found, expected) in [
            (pixels("AAAA"), "images: expected 1×2×1 bytes for front; found 3"),
            (pixels("AA"), "not base64"),
            (observe("{}"), "images: expected those of front, as in the greeting; found none"),
            (
                observe(r#"{"side": {"encoded": "iVBORw=="}}"#),
                "images: expected those of front, as in the greeting; found side",
            ),
            (
                observe(r#"{"front": {"encoded": "iVBORw==", "height": 1}}"#),
                "expected an image as {\"height\", \"width\"",
            ),
            (
                observe(r#"{"front": {"height": 1, "width": 2}}"#),
                "expected an image as {\"height\", \"width\"",
            ),
        ] {
            let found = found.unwrap_err();
            assert!(found.contains(expected), "expected {expected:?} in: {found}");
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
