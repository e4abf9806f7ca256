//! Environments in a process of their own, in any language.
//!
//! # The protocol, version 1
//!
//! The process reads requests on its standard input and writes answers on its standard output; both are JSON in
//! UTF-8, one object a line. Its standard error is free: the last lines of it are part of an error message. It holds any
//! number of environments side by side; `env`, a number from 0, names one of them. Answers come in the order of the
//! requests, and several requests may come before the first answer.
//!
//! First, before any request, the process writes a greeting:
//!
//! ```json
//! {"hello": {"protocol": 1, "observation": 11, "action": {"continuous": {"low": [-1, -1, -1], "high": [1, 1, 1]}}, "max_steps": 1000}}
//! ```
//!
//! | field | |
//! | --- | --- |
//! | `protocol` | 1 |
//! | `observation` | the number of values in an observation; or, for one of named parts, `{"position": 5, "velocity": 6}`; optional if there are `images` |
//! | `images` | the names of the images in an observation, `["front", "wrist"]`; optional, none by default |
//! | `action` | `{"discrete": n}`: a number below n; `{"continuous": {"low": […], "high": […]}}`: numbers between these bounds, `null` for no bound; `{"parts": {"arm": {"continuous": …}, "grip": {"discrete": 3}}}`: several at once, by name |
//! | `max_steps` | steps after which an episode is truncated, even if the environment continues; optional |
//! | `envs` | the largest number of environments side by side; optional, no limit by default |
//!
//! Then it answers requests, and ends at `close` or at the end of its input:
//!
//! | request | answer |
//! | --- | --- |
//! | `{"env": 0, "reset": {"seed": 7}}` begins an episode; a seed is below 2^64 | `{"env": 0, "observation": […]}` |
//! | `{"env": 0, "step": {"action": [0.5, 0, -1]}}`; a discrete action is one number, one of parts an object | `{"env": 0, "observation": […], "reward": 1.0, "terminated": false, "truncated": false}` |
//! | `{"close": {}}`, the last line of the input | |
//!
//! An observation is a list of numbers, which may be nested, or an object of such lists, which are read in the order of
//! their names. Numbers are finite. The images that the greeting names follow the observation, or replace it if there are
//! no numbers. An image has one of two forms; bytes are in base64:
//!
//! ```json
//! {"env": 0, "observation": [0.5], "images": {"front": {"height": 84, "width": 84, "channels": 3, "pixels": "AAAA…"}}}
//! {"env": 0, "observation": [0.5], "images": {"front": {"encoded": "iVBORw0KGgo…"}}}
//! ```
//!
//! `pixels` are bytes, row by row, `height * width * channels` of them, where `channels` is 1 for grey and 3 for RGB;
//! `encoded` is the content of an image file, such as a PNG or a JPEG. A line has at most 8 MiB.
//!
//! `env` is optional in an answer. Instead of an answer, or of the greeting, `{"error": "the message"}` ends the process
//! with that message. A field that is not listed here is an error.
//!
//! `examples/gymnasium_bridge.py` implements the protocol for any task of Gymnasium.

mod child;
mod family;
mod images;
pub mod message;
mod numbers;

use self::child::Child;
use self::message::{Hello, MessageError};
use super::{Action, ActionSpec, EnvError, Observation, Step, VectorEnvironment};
use std::time::Duration;

/// Environments in a child process, which is asked to close when this is dropped, and killed if it does not.
pub struct Bridge {
    child: Child,
    hello: Hello,
    /// For each slot, the steps of its unfinished episode.
    steps: Vec<Option<usize>>,
}

impl Bridge {
    /// Starts a command, split into words as by a shell, and reads its greeting. The process has `timeout` for the
    /// greeting and for each answer.
    ///
    /// # Errors
    /// [`EnvError::Process`], which names the command and the problem.
    pub fn start(command: &str, timeout: Duration) -> Result<Self, EnvError> {
        let mut child = Child::start(command, timeout)?;
        let line = child.line("greeting")?;
        let hello = Hello::read(&line).map_err(|e| child.fail(e))?;
        Ok(Self { child, hello, steps: Vec::new() })
    }

    /// The id of the process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }
}

/// Sends requests, and reads an answer to each.
fn ask<T>(
    child: &mut Child,
    requests: Vec<(usize, Vec<u8>)>,
    to: &str,
    read: impl Fn(&[u8], usize) -> Result<T, MessageError>,
) -> Result<Vec<T>, EnvError> {
    child.send(requests.iter().flat_map(|(_, line)| line).copied().collect())?;
    let answers = requests.iter().map(|&(slot, _)| {
        let line = child.line(&format!("answer to {to}"))?;
        read(&line, slot).map_err(|e| child.fail(e))
    });
    answers.collect()
}

impl VectorEnvironment for Bridge {
    fn name(&self) -> &str {
        self.child.command()
    }

    fn state_dim(&self) -> usize {
        self.hello.state_dim
    }

    fn cameras(&self) -> Vec<String> {
        self.hello.cameras.iter().cloned().collect()
    }

    fn action_spec(&self) -> ActionSpec {
        self.hello.actions.clone()
    }

    fn slots(&self) -> usize {
        self.hello.envs.unwrap_or(usize::MAX)
    }

    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Observation>, EnvError> {
        let requests = starts.iter().map(|&(slot, seed)| (slot, message::reset(slot, seed))).collect();
        let observations = ask(&mut self.child, requests, "reset", |line, slot| {
            message::first_observation(line, slot, &self.hello)
        })?;
        for &(slot, _) in starts {
            self.steps.resize(self.steps.len().max(slot + 1), None);
            self.steps[slot] = Some(0);
        }
        Ok(observations)
    }

    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError> {
        for (slot, action) in actions {
            if self.steps.get(*slot).is_none_or(Option::is_none) {
                return Err(EnvError::NotRunning { environment: self.name().into() });
            }
            self.hello.actions.check(action)?;
        }
        let requests = actions.iter().map(|&(slot, action)| (slot, message::step(slot, action))).collect();
        let mut steps =
            ask(&mut self.child, requests, "step", |line, slot| message::next_step(line, slot, &self.hello))?;
        for (step, &(slot, _)) in steps.iter_mut().zip(actions) {
            let taken = self.steps[slot].map_or(0, |steps| steps + 1);
            step.truncated |= self.hello.max_steps.is_some_and(|most| taken >= most);
            self.steps[slot] = (!step.done()).then_some(taken);
        }
        Ok(steps)
    }
}
