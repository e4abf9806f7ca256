//! Key-to-Door (Mesnard et al. 2021): a reward at the end that an early action decides.

use super::{Action, ActionSpec, EnvError, Environment, Observation, Step};
use crate::random;
use rand_pcg::Pcg64Mcg;

/// Rows and columns of a room.
const SIZE: usize = 5;
/// Numbers in an observation.
const STATE_DIM: usize = 8;
/// The number of steps in the room of the key, in that of the apple and in that of the door. A walk between any two cells
/// of a room has at most 8 steps.
const STEPS: [u32; 3] = [8, 16, 8];
const KEY: usize = 0;
const DOOR: usize = 2;

/// Pick up a key in the first of three rooms, and much later reach the door in the last.
///
/// A room is a grid of 5 × 5 cells. The agent starts at a random cell of it, and an object lies at another: a key in the first
/// room, a worthless apple in the second, a door in the third. Actions move the agent by one cell: up (0), down (1), left (2),
/// right (3); into a wall it stays. At a key or an apple the agent takes it. After 8 steps in the first room and 16 in the
/// second the agent is in the next one; after 8 in the third the episode is truncated. It terminates at the door, with reward 1
/// if the agent has picked up the key; every other reward is 0. Three in a hundred random walks succeed.
///
/// An observation is partial: it has the current room, and not whether the agent has the key. It is 8 numbers in 0..=1:
///
/// | numbers | |
/// | --- | --- |
/// | 0, 1, 2 | 1 for the current room, 0 for the others |
/// | 3, 4 | the agent's row and column, divided by 4 |
/// | 5 | 1 if the room has its object, 0 if the agent has taken it |
/// | 6, 7 | the object's row and column, divided by 4; 0 if the agent has taken it |
///
/// Cells depend on the seed alone, not on the actions.
#[derive(Clone, Debug, Default)]
pub struct KeyToDoor {
    episode: Option<Episode>,
}

/// An unfinished episode.
#[derive(Clone, Debug, PartialEq)]
struct Episode {
    rooms: [Room; 3],
    /// The number of the current room.
    now: usize,
    /// Steps in the current room.
    steps: u32,
    has_key: bool,
}

/// The row and column of a cell.
type Cell = [usize; 2];

#[derive(Clone, Copy, Debug, PartialEq)]
struct Room {
    agent: Cell,
    /// `None` once the agent has taken it.
    object: Option<Cell>,
}

impl KeyToDoor {
    /// The name under which [`environment`](super::environment) finds it.
    pub const NAME: &'static str = "key-to-door";

    /// The rooms before the first episode.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Environment for KeyToDoor {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn state_dim(&self) -> usize {
        STATE_DIM
    }

    fn action_spec(&self) -> ActionSpec {
        ActionSpec::Discrete { n: 4 }
    }

    fn success_return(&self) -> Option<f64> {
        Some(1.0)
    }

    fn reset(&mut self, seed: u64) -> Result<Observation, EnvError> {
        let generator = &mut random::generator(seed);
        let rooms = [(); 3].map(|()| Room::draw(generator));
        let episode = self.episode.insert(Episode { rooms, now: 0, steps: 0, has_key: false });
        Ok(episode.observation().into())
    }

    fn step(&mut self, action: &Action) -> Result<Step, EnvError> {
        self.action_spec().check(action)?;
        let (Some(episode), Action::Discrete(direction)) = (&mut self.episode, action) else {
            return Err(EnvError::NotRunning { environment: Self::NAME.into() });
        };
        let (reward, terminated) = episode.act(*direction);
        let truncated = episode.now == DOOR && episode.steps == STEPS[DOOR];
        let step = Step { observation: episode.observation().into(), reward, terminated, truncated };
        if step.done() {
            self.episode = None;
        }
        Ok(step)
    }
}

impl Episode {
    /// Moves the agent; returns the reward, and whether it is at the door.
    fn act(&mut self, direction: u32) -> (f32, bool) {
        let room = &mut self.rooms[self.now];
        room.agent = moved(room.agent, direction);
        self.steps += 1;
        let is_at_object = room.object == Some(room.agent);
        if is_at_object && self.now == DOOR {
            return (if self.has_key { 1.0 } else { 0.0 }, true);
        }
        if is_at_object {
            room.object = None;
            self.has_key |= self.now == KEY;
        }
        if self.now < DOOR && self.steps == STEPS[self.now] {
            (self.now, self.steps) = (self.now + 1, 0);
        }
        (0.0, false)
    }

    fn observation(&self) -> Vec<f32> {
        let Room { agent, object } = self.rooms[self.now];
        let share = |place: usize| place as f32 / (SIZE - 1) as f32;
        let of_room = (0..STEPS.len()).map(|room| f32::from(u8::from(room == self.now)));
        let of_object = object.map_or([0.0; 3], |[row, column]| [1.0, share(row), share(column)]);
        of_room.chain(agent.map(share)).chain(of_object).collect()
    }
}

impl Room {
    /// A room whose agent and object are at different random cells.
    fn draw(generator: &mut Pcg64Mcg) -> Self {
        let cells = SIZE * SIZE;
        let agent = random::below(generator, cells);
        let object = (agent + 1 + random::below(generator, cells - 1)) % cells;
        let cell = |number: usize| [number / SIZE, number % SIZE];
        Self { agent: cell(agent), object: Some(cell(object)) }
    }
}

/// The cell in a direction, or the same cell at a wall.
fn moved([row, column]: Cell, direction: u32) -> Cell {
    match direction {
        0 => [row.saturating_sub(1), column],
        1 => [(row + 1).min(SIZE - 1), column],
        2 => [row, column.saturating_sub(1)],
        _ => [row, (column + 1).min(SIZE - 1)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an episode: in each room, the agent walks to the object if `seeks` has true for the room, else into a corner away
    /// from it. Returns each observation before an action, and the steps.
    fn play(seed: u64, seeks: [bool; 3]) -> (Vec<Vec<f32>>, Vec<Step>) {
        let mut rooms = KeyToDoor::new();
        let mut seen = rooms.reset(seed).unwrap().state;
        let (mut states, mut steps) = (vec![], vec![]);
        loop {
            let now = seen[..3].iter().position(|&x| x == 1.0).unwrap();
            let step = rooms.step(&Action::Discrete(direction(&seen, seeks[now]))).unwrap();
            states.push(std::mem::replace(&mut seen, step.observation.state.clone()));
            steps.push(step);
            if steps.last().unwrap().done() {
                assert!(matches!(rooms.step(&Action::Discrete(0)), Err(EnvError::NotRunning { .. })));
                return (states, steps);
            }
        }
    }

    /// The direction of the object; or up and down the agent's column, which has no object if it is not its own.
    fn direction(state: &[f32], seeks: bool) -> u32 {
        let (down, right) = (state[6] - state[3], state[7] - state[4]);
        match (seeks && state[5] == 1.0, down, right) {
            (true, down, _) if down != 0.0 => u32::from(down > 0.0),
            (true, _, right) => 2 + u32::from(right > 0.0),
            // Against the walls: up if the object is not above, else down.
            (false, down, _) => u32::from(down < 0.0),
        }
    }

    #[test]
    fn the_rooms_follow_each_other_after_their_steps() {
        let (states, steps) = play(5, [true, false, false]);
        let room = |state: &Vec<f32>| state[..3].iter().position(|&x| x == 1.0).unwrap();
        let rooms: Vec<usize> = states.iter().map(room).collect();
        assert_eq!(rooms, [vec![0; 8], vec![1; 16], vec![2; 8]].concat());
        let last = steps.last().unwrap();
        assert!(last.truncated && !last.terminated);
        assert!(states.iter().flatten().all(|x| (0.0..=1.0).contains(x)));
        assert!(states.iter().all(|state| state.len() == KeyToDoor::new().state_dim()));
    }

    #[test]
    fn the_door_has_a_reward_for_those_with_the_key_alone() {
        for seed in 0..200 {
            for (seeks, expected, terminated) in [
                ([true, false, true], 1.0, true),
                ([true, true, true], 1.0, true),
                ([false, true, true], 0.0, true),
                ([true, true, false], 0.0, false),
            ] {
                let (_, steps) = play(seed, seeks);
                let rewards: f32 = steps.iter().map(|step| step.reward).sum();
                let last = steps.last().unwrap();
                assert_eq!((rewards, last.reward), (expected, expected), "seed {seed}, {seeks:?}");
                assert_eq!(last.terminated, terminated, "seed {seed}, {seeks:?}");
            }
        }
    }

    #[test]
    fn a_taken_object_is_gone_and_later_rooms_do_not_show_it() {
        let (with, _) = play(7, [true, false, true]);
        let (without, _) = play(7, [false, false, true]);
        assert_eq!(with[7][5..], [0.0; 3], "the key is taken");
        assert_eq!(with[8..], without[8..], "an observation does not tell who has the key");
    }

    #[test]
    fn a_seed_and_the_actions_determine_an_episode() {
        assert_eq!(play(3, [true; 3]), play(3, [true; 3]));
        assert_ne!(play(3, [true; 3]).0, play(4, [true; 3]).0);
    }

    #[test]
    fn a_wrong_action_and_a_step_before_a_reset_are_errors() {
        let mut rooms = KeyToDoor::new();
        assert!(matches!(rooms.step(&Action::Discrete(0)), Err(EnvError::NotRunning { .. })));
        rooms.reset(1).unwrap();
        let before = rooms.episode.clone();
        assert!(matches!(rooms.step(&Action::Discrete(4)), Err(EnvError::Action { .. })));
        assert_eq!(rooms.episode, before);
    }

    #[test]
    fn the_agent_stops_at_walls() {
        assert_eq!([moved([0, 0], 0), moved([0, 0], 2)], [[0, 0]; 2]);
        assert_eq!([moved([4, 4], 1), moved([4, 4], 3)], [[4, 4]; 2]);
        assert_eq!((moved([2, 2], 0), moved([2, 2], 3)), ([1, 2], [2, 3]));
    }
}
