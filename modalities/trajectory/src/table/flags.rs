//! Columns of flags: starts and ends of episodes.

use super::{Role, Table};
use crate::{End, TrajectoryError};
use std::ops::Range;

/// A boolean for each step.
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) values: Vec<bool>,
}

impl Table {
    /// The flags of the column with this role.
    pub(super) fn flags(&self, role: &Role) -> Result<Option<Flag>, TrajectoryError> {
        let Some(column) = self.only(role)? else { return Ok(None) };
        let flag = |(step, &value): (usize, &f64)| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            found => Err(TrajectoryError::value(&column.name, step, "0 or 1", found)),
        };
        let values = column.values.iter().enumerate().map(flag).collect::<Result<_, _>>()?;
        Ok(Some(Flag { name: column.name.clone(), values }))
    }
}

impl Flag {
    /// Whether the flag is set at the last step; an earlier step is an error.
    pub(super) fn only_at_the_end(&self, steps: Range<usize>) -> Result<bool, TrajectoryError> {
        let Some(last) = steps.end.checked_sub(1) else { return Ok(false) };
        match (steps.start..last).find(|&step| self.values[step]) {
            None => Ok(self.values[last]),
            Some(step) => {
                Err(TrajectoryError::value(&self.name, step, "0 before an episode's last step", 1.0))
            }
        }
    }
}

impl End {
    /// The end given by two flags; `terminated` takes precedence.
    pub(crate) fn of(terminated: bool, truncated: bool) -> Self {
        match (terminated, truncated) {
            (true, _) => Self::Terminated,
            (false, true) => Self::TimeLimit,
            (false, false) => Self::Unknown,
        }
    }
}
