//! Several copies of a built-in environment.

use super::{Action, ActionSpec, EnvError, Environment, Observation, Step, VectorEnvironment, environment};

/// Copies of a built-in environment, created when a slot is first reset.
pub struct Copies {
    /// A copy that plays no episode and describes the others.
    prototype: Box<dyn Environment>,
    slots: Vec<Box<dyn Environment>>,
}

impl Copies {
    /// Copies of the built-in environment of this name.
    ///
    /// # Errors
    /// [`EnvError::Unknown`] for any other name.
    pub fn new(name: &str) -> Result<Self, EnvError> {
        Ok(Self { prototype: environment(name)?, slots: Vec::new() })
    }
}

impl VectorEnvironment for Copies {
    fn name(&self) -> &str {
        self.prototype.name()
    }

    fn state_dim(&self) -> usize {
        self.prototype.state_dim()
    }

    fn cameras(&self) -> Vec<String> {
        self.prototype.cameras()
    }

    fn action_spec(&self) -> ActionSpec {
        self.prototype.action_spec()
    }

    fn success_return(&self) -> Option<f64> {
        self.prototype.success_return()
    }

    fn slots(&self) -> usize {
        usize::MAX
    }

    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Observation>, EnvError> {
        let begin = |&(slot, seed): &(usize, u64)| {
            while self.slots.len() <= slot {
                self.slots.push(environment(self.prototype.name())?);
            }
            self.slots[slot].reset(seed)
        };
        starts.iter().map(begin).collect()
    }

    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError> {
        let act = |&(slot, action): &(usize, &Action)| match self.slots.get_mut(slot) {
            Some(environment) => environment.step(action),
            None => Err(EnvError::NotRunning { environment: self.prototype.name().into() }),
        };
        actions.iter().map(act).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::CartPole;

    #[test]
    fn each_slot_has_an_episode_of_its_own() {
        let mut copies = Copies::new(CartPole::NAME).unwrap();
        let mut alone = CartPole::new();
        let states = copies.reset(&[(1, 7), (0, 8)]).unwrap();
        assert_eq!(states[0], alone.reset(7).unwrap());
        let push = Action::Discrete(1);
        for _ in 0..3 {
            let steps = copies.step(&[(0, &Action::Discrete(0)), (1, &push)]).unwrap();
            assert_eq!(steps[1], alone.step(&push).unwrap());
            assert_ne!(steps[0], steps[1]);
        }
        let error = copies.step(&[(2, &push)]).unwrap_err().to_string();
        assert!(error.starts_with("cartpole: no episode is running"), "{error}");
    }
}
