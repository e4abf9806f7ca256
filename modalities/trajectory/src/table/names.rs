//! The roles of columns, by their names.
//!
//! | role | names |
//! | --- | --- |
//! | state | `obs`, `observation`, `observations`, or such a name and a part: `obs.x`, `observation.state` |
//! | action | `act`, `acts`, `action`, `actions`, or such a name and a part |
//! | state, action | `continuous_observations`, `image_observations`, `discrete_actions` and the like, as in JAT's data sets |
//! | reward | `rew`, `rews`, `reward`, `rewards`, `next.reward` |
//! | termination | `terminated`, `terminal`, `terminals`, `terminations`: 1 at the last step, otherwise 0 |
//! | time limit | `truncated`, `truncations`, `timeouts` |
//! | any end | `done`, `dones`, `next.done` |
//! | episode | `episode`, `episode_id`, `episode_index`: the same number at each step of an episode |
//! | start | `episode_starts`: 1 at the first step of an episode |
//! | step | `step`, `frame_index`: from 0 in each episode |
//! | ignored | `timestamp`, `index`, `task_index`, `next.success`, `infos`, `next_obs`, `next_observations` |
//! | index | no name, `Unnamed: 0`, `__index_level_0__`: an index of pandas, which numbers the rows |
//!
//! A `/` is the same as a `.`. A state may be images, whose part is then the camera's name. The start of an episode is
//! given by `episode_starts`, otherwise by `episode`, otherwise by the end of the previous one.

/// The role of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// States, or a named part of them.
    State(String),
    /// Actions, or a named part of them.
    Action(String),
    Reward,
    Terminated,
    Truncated,
    Done,
    Episode,
    Start,
    Step,
    /// Known and ignored.
    Ignored,
    /// An index of pandas.
    Index,
    Unknown,
}

/// The role of a column with this name.
pub(crate) fn role(name: &str) -> Role {
    let (head, part) = name.split_once(['.', '/']).unwrap_or((name, ""));
    match (head, name) {
        ("obs" | "observation" | "observations", _) => Role::State(part.replace('/', ".")),
        ("act" | "acts" | "action" | "actions", _) => Role::Action(part.replace('/', ".")),
        ("continuous_observations" | "discrete_observations" | "image_observations", _) => {
            Role::State(part.replace('/', "."))
        }
        ("continuous_actions" | "discrete_actions", _) => Role::Action(part.replace('/', ".")),
        (_, "rew" | "rews" | "reward" | "rewards" | "next.reward") => Role::Reward,
        (_, "terminated" | "terminal" | "terminals" | "terminations") => Role::Terminated,
        (_, "truncated" | "truncations" | "timeouts") => Role::Truncated,
        (_, "done" | "dones" | "next.done") => Role::Done,
        (_, "episode" | "episode_id" | "episode_index") => Role::Episode,
        (_, "episode_starts") => Role::Start,
        (_, "step" | "frame_index") => Role::Step,
        ("infos" | "next_obs" | "next_observations", _) => Role::Ignored,
        (_, "timestamp" | "index" | "task_index" | "next.success") => Role::Ignored,
        _ if ["Unnamed: ", "__index_level_"].iter().any(|index| name.starts_with(index)) => Role::Index,
        (_, "") => Role::Index,
        _ => Role::Unknown,
    }
}

/// The reason why a column is skipped whose role is [`Role::Index`].
pub(crate) const INDEX: &str = "an index of pandas, or a column without a name";
