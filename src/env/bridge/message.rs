//! What is said over the bridge: requests written, answers read and checked.

use crate::env::{Action, ActionSpec, Step};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt::{Formatter, Result as Written};

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u32 = 1;

/// What an environment says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// Numbers in an observation.
    pub state_dim: usize,
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
const STATE: &str = r#"an answer to reset {"env": …, "observation": …}"#;
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
    observation: Size,
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
    MultiDiscrete(Vec<u32>),
    Continuous { low: Vec<Option<f32>>, high: Vec<Option<f32>> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    env: Option<usize>,
    observation: Numbers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stepped {
    env: Option<usize>,
    observation: Numbers,
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
            Size::One(numbers) => Some(numbers),
            Size::Parts(parts) => parts.into_values().try_fold(0_usize, usize::checked_add),
        };
        let state_dim = at_least_one("observation", state_dim.unwrap_or(0))?;
        let max_steps = hello.max_steps.map(|steps| at_least_one("max_steps", steps)).transpose()?;
        let envs = hello.envs.map(|envs| at_least_one("envs", envs)).transpose()?;
        Ok(Self { state_dim, actions: hello.action.spec()?, max_steps, envs })
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
            Self::MultiDiscrete(n) => {
                at_least_one("action", n.iter().min().map_or(0, |&least| least as usize))?;
                return Ok(ActionSpec::MultiDiscrete { n });
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

/// The answer to [`reset`]: the first state of environment `env`, `[state_dim]`.
///
/// # Errors
/// [`MessageError`], which says what is wrong with the line.
pub fn first_state(line: &[u8], env: usize, state_dim: usize) -> Result<Vec<f32>, MessageError> {
    let State { env: of, observation } = read(line, STATE)?;
    answers(of, env)?;
    observation.state(state_dim)
}

/// The answer to [`step`]: what the action in environment `env` led to.
///
/// # Errors
/// [`MessageError`], which says what is wrong with the line.
pub fn next_step(line: &[u8], env: usize, state_dim: usize) -> Result<Step, MessageError> {
    let Stepped { env: of, observation, reward, terminated, truncated } = read(line, STEP)?;
    answers(of, env)?;
    let state = observation.state(state_dim)?;
    if !(reward as f32).is_finite() {
        let problem = format!("must be a finite number; found {reward}");
        return Err(MessageError::Value { field: "reward", problem });
    }
    Ok(Step { state, reward: reward as f32, terminated, truncated })
}

/// The request for a new episode in environment `env`, a line.
pub fn reset(env: usize, seed: u64) -> Vec<u8> {
    format!("{{\"env\": {env}, \"reset\": {{\"seed\": {seed}}}}}\n").into_bytes()
}

/// The request to act in environment `env`, a line. The numbers of an action are finite.
pub fn step(env: usize, action: &Action) -> Vec<u8> {
    let action = match action {
        Action::Discrete(number) => number.to_string(),
        // Rust prints lists of finite numbers as JSON does.
        Action::MultiDiscrete(numbers) => format!("{numbers:?}"),
        Action::Continuous(values) => format!("{values:?}"),
    };
    format!("{{\"env\": {env}, \"step\": {{\"action\": {action}}}}}\n").into_bytes()
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

/// The numbers of an observation, in order.
#[derive(Default)]
struct Numbers(Vec<f32>);

impl Numbers {
    fn state(self, state_dim: usize) -> Result<Vec<f32>, MessageError> {
        let refuse = |problem| Err(MessageError::Value { field: "observation", problem });
        if self.0.len() != state_dim {
            return refuse(format!("must have {state_dim} numbers, as was said; found {}", self.0.len()));
        }
        match self.0.iter().position(|number| !number.is_finite()) {
            Some(at) => refuse(format!("holds {} at place {at}; it must be finite", self.0[at])),
            None => Ok(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Numbers::default();
        Gather(&mut numbers.0).deserialize(deserializer)?;
        Ok(numbers)
    }
}

/// Puts a number, or those of a list or an object, behind others.
struct Gather<'n>(&'n mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> Written {
        f.write_str("a number, or a list or an object of numbers")
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Gather(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut parts = BTreeMap::<String, Vec<f32>>::new();
        while let Some((name, Numbers(numbers))) = object.next_entry()? {
            if parts.insert(name, numbers).is_some() {
                return Err(A::Error::custom("an observation has two parts of one name"));
            }
        }
        parts.into_values().for_each(|part| self.0.extend(part));
        Ok(())
    }
}
