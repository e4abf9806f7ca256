//! What a column is, by its name.
//!
//! | a step's | names |
//! | --- | --- |
//! | state | `obs`, `observation`, `observations`, or such a name and a part: `obs.x`, `observation.state` |
//! | action | `action`, `actions`, or such a name and a part |
//! | reward | `reward`, `rewards`, `next.reward` |
//! | true end | `terminated`, `terminals`, `terminations`: 1 at the last step, else 0 |
//! | time limit | `truncated`, `truncations`, `timeouts` |
//! | end, of whatever sort | `done`, `dones`, `next.done` |
//! | episode | `episode`, `episode_index`: the same number at each step of an episode |
//! | beginning | `episode_starts`: 1 at the first step of an episode |
//! | number | `step`, `frame_index`: from 0 in each episode |
//! | place and time | `timestamp`, `index`, `task_index`, `next.success`: known and not used |
//!
//! A `/` stands for a `.`. A state may be images, whose part is then the camera's name. Where an episode begins is told by `episode_starts`, else by `episode`, else by the end of
//! the one before.

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// States, or the part of them that is named.
    State(String),
    /// Actions, or the part of them that is named.
    Action(String),
    Reward,
    Terminated,
    Truncated,
    Done,
    Episode,
    Start,
    Step,
    /// Known, and not used.
    Aside,
    Unknown,
}

/// The role of a column of this name.
pub(crate) fn role(name: &str) -> Role {
    let (head, part) = name.split_once(['.', '/']).unwrap_or((name, ""));
    match (head, name) {
        ("obs" | "observation" | "observations", _) => Role::State(part.replace('/', ".")),
        ("action" | "actions", _) => Role::Action(part.replace('/', ".")),
        (_, "reward" | "rewards" | "next.reward") => Role::Reward,
        (_, "terminated" | "terminals" | "terminations") => Role::Terminated,
        (_, "truncated" | "truncations" | "timeouts") => Role::Truncated,
        (_, "done" | "dones" | "next.done") => Role::Done,
        (_, "episode" | "episode_index") => Role::Episode,
        (_, "episode_starts") => Role::Start,
        (_, "step" | "frame_index") => Role::Step,
        (_, "timestamp" | "index" | "task_index" | "next.success") => Role::Aside,
        _ => Role::Unknown,
    }
}
