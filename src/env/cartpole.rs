//! The cart and pole of Barto, Sutton and Anderson (1983), with the dynamics of Gymnasium's `CartPole-v1`.

use super::{Action, ActionSpec, EnvError, Environment, Observation, Step};
use crate::random;

const GRAVITY: f64 = 9.8;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
const TOTAL_MASS: f64 = CART_MASS + POLE_MASS;
/// From the pivot to the pole's centre of mass, in metres.
const HALF_LENGTH: f64 = 0.5;
const POLE_MASS_LENGTH: f64 = POLE_MASS * HALF_LENGTH;
/// Newtons, to the right or to the left.
const FORCE: f64 = 10.0;
/// Time step, in seconds.
const TAU: f64 = 0.02;
const POSITION_LIMIT: f64 = 2.4;
const ANGLE_LIMIT: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;
const STEP_LIMIT: u32 = 500;
const START_RANGE: f64 = 0.05;

/// Balance a pole on a cart by pushing the cart to the left (action 0) or to the right (1).
///
/// A state is the cart's position (m) and velocity (m/s) and the pole's angle (rad) and angular velocity
/// (rad/s). Each step has reward 1. An episode terminates when the cart is more than 2.4 m from the centre or the pole
/// more than 12° from upright, and is truncated after 500 steps. The dynamics are Gymnasium 1's `CartPole-v1`, in double
/// precision; the start states come from another random generator, so a seed gives another start than in Gymnasium.
/// Results are the same on every machine: sine and cosine are computed in software.
#[derive(Clone, Debug, Default)]
pub struct CartPole {
    episode: Option<Episode>,
}

/// An unfinished episode.
#[derive(Clone, Debug)]
struct Episode {
    state: [f64; 4],
    steps: u32,
}

impl CartPole {
    /// The name under which [`environment`](super::environment) finds it.
    pub const NAME: &'static str = "cartpole";

    /// A cart and pole before its first episode.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Environment for CartPole {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn state_dim(&self) -> usize {
        4
    }

    fn action_spec(&self) -> ActionSpec {
        ActionSpec::Discrete { n: 2 }
    }

    fn reset(&mut self, seed: u64) -> Result<Observation, EnvError> {
        let mut generator = random::generator(seed);
        let state = [(); 4].map(|()| START_RANGE * (2.0 * random::uniform(&mut generator) - 1.0));
        self.episode = Some(Episode { state, steps: 0 });
        Ok(observation(state).into())
    }

    fn step(&mut self, action: &Action) -> Result<Step, EnvError> {
        self.action_spec().check(action)?;
        let Some(episode) = &mut self.episode else {
            return Err(EnvError::NotRunning { environment: Self::NAME.into() });
        };
        let force = if *action == Action::Discrete(1) { FORCE } else { -FORCE };
        episode.state = push(episode.state, force);
        episode.steps += 1;

        let [position, _, angle, _] = episode.state;
        let terminated = position.abs() > POSITION_LIMIT || angle.abs() > ANGLE_LIMIT;
        let truncated = episode.steps >= STEP_LIMIT;
        let step =
            Step { observation: observation(episode.state).into(), reward: 1.0, terminated, truncated };
        if step.done() {
            self.episode = None;
        }
        Ok(step)
    }
}

/// The state one time step later, under a constant `force` (Florian 2007, without friction; Euler's method).
///
/// An unstable pole doubles a rounding error every ten steps, so the operations have Gymnasium's order.
fn push([position, velocity, angle, angular_velocity]: [f64; 4], force: f64) -> [f64; 4] {
    let (sin, cos) = libm::sincos(angle);
    let centrifugal = POLE_MASS_LENGTH * (angular_velocity * angular_velocity) * sin;
    let push = (force + centrifugal) / TOTAL_MASS;
    let angular_acceleration =
        (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * (cos * cos) / TOTAL_MASS));
    let acceleration = push - POLE_MASS_LENGTH * angular_acceleration * cos / TOTAL_MASS;
    [
        position + TAU * velocity,
        velocity + TAU * acceleration,
        angle + TAU * angular_velocity,
        angular_velocity + TAU * angular_acceleration,
    ]
}

fn observation(state: [f64; 4]) -> Vec<f32> {
    state.iter().map(|&x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Episodes of Gymnasium's `CartPole-v1`; `tests/data/README.md` describes the recording.
    #[derive(serde::Deserialize)]
    struct Recorded {
        start: [f64; 4],
        /// `"0"` or `"1"` for each step.
        actions: String,
        /// The observation after each step.
        states: Vec<[f32; 4]>,
        terminated: bool,
        truncated: bool,
    }

    fn starting_at(state: [f64; 4]) -> CartPole {
        CartPole { episode: Some(Episode { state, steps: 0 }) }
    }

    #[test]
    fn follows_gymnasium_step_by_step() {
        let recorded: Vec<Recorded> =
            serde_json::from_str(include_str!("../../tests/data/cartpole-gymnasium.json")).unwrap();
        assert!(recorded.len() >= 5);
        for episode in recorded {
            let mut cartpole = starting_at(episode.start);
            let steps = episode.states.len();
            assert_eq!(episode.actions.len(), steps);
            for (t, (action, expected)) in episode.actions.bytes().zip(&episode.states).enumerate() {
                let step = cartpole.step(&Action::Discrete(u32::from(action - b'0'))).unwrap();
                for (found, expected) in step.observation.state.iter().zip(expected) {
                    assert!((found - expected).abs() <= 1e-6, "step {t}: {found} is not {expected}");
                }
                let last = t + 1 == steps;
                assert_eq!(step.terminated, last && episode.terminated, "step {t}");
                assert_eq!(step.truncated, last && episode.truncated, "step {t}");
                assert_eq!(step.reward, 1.0);
            }
            assert!(matches!(cartpole.step(&Action::Discrete(0)), Err(EnvError::NotRunning { .. })));
        }
    }

    #[test]
    fn an_episode_needs_a_reset_first() {
        let mut cartpole = CartPole::new();
        let error = cartpole.step(&Action::Discrete(0)).unwrap_err();
        assert!(error.to_string().starts_with("cartpole: no episode is running"), "{error}");
        cartpole.reset(0).unwrap();
        assert!(cartpole.step(&Action::Discrete(0)).is_ok());
    }

    #[test]
    fn a_failure_at_the_time_limit_is_both_ends() {
        let state = [2.39, 5.0, 0.0, 0.0];
        let mut cartpole = CartPole { episode: Some(Episode { state, steps: STEP_LIMIT - 1 }) };
        let step = cartpole.step(&Action::Discrete(1)).unwrap();
        assert!(step.terminated && step.truncated && step.done());
    }

    #[test]
    fn a_wrong_action_changes_nothing() {
        let mut cartpole = CartPole::new();
        cartpole.reset(1).unwrap();
        let mut untouched = cartpole.clone();
        for wrong in [Action::Discrete(2), Action::Continuous(vec![1.0])] {
            assert!(matches!(cartpole.step(&wrong), Err(EnvError::Action { .. })));
        }
        let right = Action::Discrete(1);
        assert_eq!(cartpole.step(&right), untouched.step(&right));
    }

    #[test]
    fn the_start_depends_on_the_seed_alone_and_is_near_the_centre() {
        let mut cartpole = CartPole::new();
        let first = cartpole.reset(3).unwrap();
        assert_ne!(first, cartpole.reset(4).unwrap());
        assert_eq!(first, cartpole.reset(3).unwrap());
        for seed in 0..200 {
            let state = cartpole.reset(seed).unwrap();
            assert!(state.state.iter().all(|x| x.abs() <= 0.05), "{state:?}");
        }
    }
}
