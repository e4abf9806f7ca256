//! Files whose rows are episodes: a column is a list of steps in each row.

use crate::TrajectoryError;
use crate::table::{Column, Role, role};
use ::parquet::basic::Type;
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// Whether the rows of a file are episodes, not steps: rewards or ends are lists, and either states or actions are lists of
/// lists, or no column numbers episodes or steps.
pub(super) fn has_episode_rows(schema: &SchemaDescriptor) -> bool {
    let numbers = || schema.columns().iter().filter(|column| is_number(column));
    let any = |least_depth: i16, is: fn(&Role) -> bool| {
        numbers().any(|column| column.max_rep_level() >= least_depth && is(&role(&super::name(column))))
    };
    let numbered = |role: &Role| matches!(role, Role::Episode | Role::Start | Role::Step);
    any(1, |role| matches!(role, Role::Reward | Role::Terminated | Role::Truncated | Role::Done))
        && (any(2, |role| matches!(role, Role::State(_) | Role::Action(_))) || !any(0, numbered))
}

/// Whether a column has numbers.
pub(super) fn is_number(column: &ColumnDescriptor) -> bool {
    !matches!(column.physical_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY | Type::INT96)
}

/// The columns of all episodes, one after another.
#[derive(Default)]
pub(super) struct Episodes {
    /// The columns, with the number of steps in each row.
    pub(super) columns: Vec<(Column, Vec<usize>)>,
    /// Ends that are said once for each row.
    pub(super) ends: Vec<Column>,
}

impl Episodes {
    /// The columns of all steps, with one that numbers the episodes.
    ///
    /// # Errors
    /// [`TrajectoryError`] if a row has no steps, or columns differ in its number of steps.
    pub(super) fn columns(self) -> Result<Vec<Column>, TrajectoryError> {
        let is_state = |column: &Column| matches!(role(&column.name), Role::State(_));
        let Some((model, lengths)) = self.columns.iter().find(|(column, _)| !is_state(column)) else {
            return Ok(self.columns.into_iter().map(|(column, _)| column).collect());
        };
        for (column, steps) in &self.columns {
            // An observation may follow the last action, in each episode.
            let more = usize::from(is_state(column) && steps.first() > lengths.first());
            let differs = |row: &usize| steps.get(*row).copied() != lengths.get(*row).map(|n| n + more);
            if let Some(row) = (0..steps.len().max(lengths.len())).find(differs) {
                let expected = lengths.get(row).map_or(0, |n| n + more);
                let error = TrajectoryError::Shape {
                    array: column.name.clone(),
                    expected: format!("{expected} steps, as {} has", model.name),
                    found: steps.get(row).copied().unwrap_or(0).to_string(),
                };
                return Err(error.in_episode(row));
            }
        }
        if let Some(row) = lengths.iter().position(|&steps| steps == 0) {
            let (array, found) = (model.name.clone(), "none".into());
            let error = TrajectoryError::Shape { array, expected: "at least one step".into(), found };
            return Err(error.in_episode(row));
        }
        let flat = |of_row: &dyn Fn(usize, usize) -> f64| {
            let rows = lengths.iter().enumerate();
            rows.flat_map(|(row, &n)| (0..n).map(move |step| of_row(row, n - 1 - step))).collect::<Vec<f64>>()
        };
        let named = |name: &str, values| Column {
            name: name.into(),
            dim: 1,
            values,
            whole: true,
            ..Column::default()
        };
        let mut added = vec![named("episode", flat(&|row, _| row as f64))];
        for end in &self.ends {
            let last = |row: usize, left: usize| match left {
                0 => end.values.get(row).copied().unwrap_or(0.0),
                _ => 0.0,
            };
            added.push(named(&end.name, flat(&last)));
        }
        Ok(self.columns.into_iter().map(|(column, _)| column).chain(added).collect())
    }
}
