//! Steps as named columns, as in most files, and their conversion to episodes.

mod column;
mod flags;
mod names;
mod parts;
#[cfg(test)]
mod tests;

pub(crate) use column::Column;
pub(crate) use names::{INDEX, Role, role};

use crate::{End, Episode, TrajectoryError};
use flags::Flag;
use std::collections::HashSet;

/// Convert columns to episodes; columns without a role are ignored.
pub(crate) fn episodes(columns: Vec<Column>) -> Result<Vec<Episode>, TrajectoryError> {
    Table::new(columns)?.episodes()
}

/// Convert columns to one episode, ignoring episode boundaries.
pub(crate) fn episode(columns: Vec<Column>, end: Option<End>) -> Result<Episode, TrajectoryError> {
    let mut table = Table::new(columns)?;
    table.drop_last_observations(&[0])?;
    let steps = table.steps;
    let flags = |role: Role| table.flags(&role);
    let (terminated, truncated) = (flags(Role::Terminated)?, flags(Role::Truncated)?);
    let last = |flag: &Option<Flag>| {
        flag.as_ref().map(|flag| flag.only_at_the_end(0..steps)).transpose().map(|end| end.unwrap_or(false))
    };
    let by_flags = End::of(last(&terminated)?, last(&truncated)?);
    let (images, states) = (table.images()?, table.states()?);
    let episode = Episode {
        observations: states.values,
        state_dim: states.dim,
        state_names: states.elements,
        images,
        actions: table.actions()?,
        rewards: table.rewards()?,
        end: end.unwrap_or(by_flags),
    };
    episode.validate()?;
    Ok(episode)
}

/// Names for a message: the first twenty, and the number of the others.
fn listed<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let first = names.by_ref().take(20).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

struct Table {
    /// The columns with their roles, in order.
    columns: Vec<(Role, Column)>,
    /// The names of all columns, for messages.
    found: String,
    /// The rows of columns other than states.
    steps: usize,
    /// The rows of states: as many, or one more for each episode, as Gymnasium's environments return them.
    observations: usize,
}

impl Table {
    fn new(columns: Vec<Column>) -> Result<Self, TrajectoryError> {
        let found = listed(columns.iter().map(|column| column.name.as_str()));
        let columns: Vec<_> = columns.into_iter().map(|column| (role(&column.name), column)).collect();
        let table = Self { columns, found, steps: 0, observations: 0 };
        let (_, first) = table.first(is_state, "states", "observations")?;
        let rows = first.rows();
        let ignored = |role: &Role| matches!(role, Role::Unknown | Role::Ignored | Role::Index);
        let known = || table.columns.iter().filter(|(role, _)| !ignored(role));
        let other = known().find(|(role, _)| !is_state(role)).map(|(_, column)| column);
        let counted = other.filter(|other| other.rows() < rows).unwrap_or(first);
        for (role, column) in known() {
            let model = if is_state(role) { first } else { counted };
            if column.rows() != model.rows() {
                return Err(TrajectoryError::Shape {
                    array: column.name.clone(),
                    expected: format!("{} rows, as {} has", model.rows(), model.name),
                    found: column.rows().to_string(),
                });
            }
        }
        let steps = counted.rows();
        Ok(Self { steps, observations: rows, ..table })
    }

    /// Drop the observation after the last action of each episode, if there is one.
    fn drop_last_observations(&mut self, starts: &[usize]) -> Result<(), TrajectoryError> {
        if self.observations == self.steps {
            return Ok(());
        }
        if self.observations != self.steps + starts.len() {
            let (_, state) = self.first(is_state, "states", "observations")?;
            let (steps, more) = (self.steps, self.steps + starts.len());
            return Err(TrajectoryError::Shape {
                array: state.name.clone(),
                expected: format!(
                    "{steps} rows, as the actions have, or {more} with one more for each episode"
                ),
                found: self.observations.to_string(),
            });
        }
        let ends = starts.iter().skip(1).copied().chain([self.steps]);
        // Each earlier episode has one observation more.
        let kept: Vec<_> =
            starts.iter().zip(ends).enumerate().map(|(e, (&start, end))| start + e..end + e).collect();
        for (_, column) in self.columns.iter_mut().filter(|(role, _)| is_state(role)) {
            column.keep(&kept);
        }
        self.observations = self.steps;
        Ok(())
    }

    fn first(
        &self,
        is: impl Fn(&Role) -> bool,
        what: &'static str,
        such_as: &'static str,
    ) -> Result<&(Role, Column), TrajectoryError> {
        let missing = || TrajectoryError::Missing { what, such_as, found: self.found.clone() };
        self.columns.iter().find(|(role, _)| is(role)).ok_or_else(missing)
    }

    fn episodes(mut self) -> Result<Vec<Episode>, TrajectoryError> {
        let starts = self.starts()?;
        let (terminated, truncated) = (self.flags(&Role::Terminated)?, self.flags(&Role::Truncated)?);
        self.check_steps(&starts)?;
        if starts.is_empty() {
            return Err(TrajectoryError::Empty);
        }
        self.drop_last_observations(&starts)?;
        let (images, states) = (self.images()?, self.states()?);
        let (actions, rewards) = (self.actions()?, self.rewards()?);
        let ends = starts.iter().skip(1).copied().chain([self.steps]);
        let episode = |(e, (start, end)): (usize, (usize, usize))| {
            let last = |flag: &Option<Flag>| match flag {
                Some(flag) => flag.only_at_the_end(start..end),
                None => Ok(false),
            };
            let episode = Episode {
                observations: states.values[start * states.dim..end * states.dim].to_vec(),
                state_dim: states.dim,
                state_names: states.elements.clone(),
                images: images.iter().map(|(name, all)| (name.clone(), all.slice(start..end))).collect(),
                actions: actions.slice(start..end),
                rewards: rewards.get(start..end).unwrap_or_default().to_vec(),
                end: End::of(last(&terminated)?, last(&truncated)?),
            };
            episode.validate().map_err(|error| error.in_episode(e))?;
            Ok(episode)
        };
        starts.iter().copied().zip(ends).enumerate().map(episode).collect()
    }

    /// The first step of each episode: from a column of starts, from changes of the episode's number, or after each
    /// end.
    fn starts(&self) -> Result<Vec<usize>, TrajectoryError> {
        if let Some(starts) = self.flags(&Role::Start)? {
            if let Some(false) = starts.values.first() {
                return Err(TrajectoryError::value(&starts.name, 0, "1 at the first step", 0.0));
            }
            return Ok((0..self.steps).filter(|&step| starts.values[step]).collect());
        }
        if let Some(number) = self.only(&Role::Episode)? {
            let mut seen = HashSet::new();
            let mut starts = vec![];
            for (step, value) in number.values.iter().enumerate() {
                if step > 0 && *value == number.values[step - 1] {
                    continue;
                }
                if !seen.insert(value.to_bits()) {
                    let expected = "a new number, because an episode's steps must be contiguous";
                    return Err(TrajectoryError::value(&number.name, step, expected, *value));
                }
                starts.push(step);
            }
            return Ok(starts);
        }
        let flags = [Role::Terminated, Role::Truncated, Role::Done].map(|role| self.flags(&role));
        let flags = flags.into_iter().collect::<Result<Vec<_>, _>>()?;
        let flags: Vec<Flag> = flags.into_iter().flatten().collect();
        if flags.is_empty() {
            let (what, such_as) = ("episode boundaries", "episode_starts");
            return Err(TrajectoryError::Missing { what, such_as, found: self.found.clone() });
        }
        let over = |step: usize| flags.iter().any(|flag| flag.values[step]);
        Ok((0..self.steps).filter(|&step| step == 0 || over(step - 1)).collect())
    }

    /// Check that a column of step numbers counts each episode from 0.
    fn check_steps(&self, starts: &[usize]) -> Result<(), TrajectoryError> {
        let Some(count) = self.only(&Role::Step)? else { return Ok(()) };
        let mut start = 0;
        for (step, &value) in count.values.iter().enumerate() {
            if starts.binary_search(&step).is_ok() {
                start = step;
            }
            if value != (step - start) as f64 {
                let expected = format!("{}, the number of steps since the episode began", step - start);
                return Err(TrajectoryError::value(&count.name, step, expected, value));
            }
        }
        Ok(())
    }

    /// The column with this role, which has one number per step.
    fn only(&self, wanted: &Role) -> Result<Option<&Column>, TrajectoryError> {
        let mut of_role = self.columns.iter().filter(|(role, _)| role == wanted);
        let Some((_, column)) = of_role.next() else { return Ok(None) };
        if let Some((_, other)) = of_role.next() {
            let (one, other) = (&column.name, &other.name);
            return Err(TrajectoryError::Columns(format!(
                "columns {one:?} and {other:?} have the same meaning; keep one of them"
            )));
        }
        if column.dim != 1 {
            let (expected, found) = ("one number per step".into(), column.dim.to_string());
            return Err(TrajectoryError::Shape { array: column.name.clone(), expected, found });
        }
        Ok(Some(column))
    }

    /// The rewards; none without a column of them, as in demonstrations.
    fn rewards(&self) -> Result<Vec<f32>, TrajectoryError> {
        let column = self.only(&Role::Reward)?;
        Ok(column.map_or(vec![], |column| column.values.iter().map(|&value| value as f32).collect()))
    }
}

fn is_state(role: &Role) -> bool {
    matches!(role, Role::State(_))
}
