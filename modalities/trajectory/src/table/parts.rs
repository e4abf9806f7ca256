//! States and actions in parts: conversion of several columns to one array, or to an action of several parts.

use super::{Column, Role, Table};
use crate::{Actions, Images, TrajectoryError};
use std::collections::{BTreeMap, HashSet};

/// The most discrete actions of a step: each is an output of its own.
const MOST_ACTIONS: usize = 1024;

/// States of all steps.
pub(super) struct States {
    pub(super) values: Vec<f32>,
    pub(super) dim: usize,
    pub(super) elements: Vec<String>,
}

impl Table {
    /// Take the columns of images, by the names of their cameras.
    pub(super) fn images(&mut self) -> Result<BTreeMap<String, Images>, TrajectoryError> {
        let mut cameras = BTreeMap::new();
        for (role, column) in &mut self.columns {
            let Some(images) = column.images.take() else { continue };
            let Role::State(part) = role else {
                let problem = format!("column {:?} has images; only observations may have them", column.name);
                return Err(TrajectoryError::Columns(problem));
            };
            if cameras.insert(part.clone(), images).is_some() {
                return Err(TrajectoryError::Columns(format!("two columns have the name {:?}", column.name)));
            }
            *role = Role::Ignored;
        }
        Ok(cameras)
    }

    /// Take the columns of states and concatenate them.
    pub(super) fn states(&mut self) -> Result<States, TrajectoryError> {
        let columns = self.take(|role| match role {
            Role::State(part) => Some(part.clone()),
            _ => None,
        })?;
        let anonymous =
            matches!(&columns[..], [(part, column)] if part.is_empty() && column.elements.is_empty());
        let elements = match anonymous {
            true => vec![],
            false => columns.iter().flat_map(|(part, column)| column.element_names(part)).collect(),
        };
        let dim = columns.iter().map(|(_, column)| column.dim).sum();
        Ok(States { values: concatenated(columns, self.steps), dim, elements })
    }

    /// Take the columns of actions: continuous, discrete, or parts that are grouped by the first word of the columns'
    /// names. If all are continuous, they are one action, whatever their names.
    pub(super) fn actions(&mut self) -> Result<Actions, TrajectoryError> {
        self.first(|role| matches!(role, Role::Action(_)), "actions", "actions")?;
        let columns = self.take(|role| match role {
            Role::Action(part) => Some(part.clone()),
            _ => None,
        })?;
        if columns.iter().all(|(_, column)| !column.whole) {
            let dim = columns.iter().map(|(_, column)| column.dim).sum();
            return Ok(Actions::Continuous { values: concatenated(columns, self.steps), dim });
        }
        let mut parts: BTreeMap<String, Vec<(String, Column)>> = BTreeMap::new();
        for (name, column) in columns {
            let part = name.split('.').next().unwrap_or_default().to_string();
            parts.entry(part).or_default().push((name, column));
        }
        let mut actions = BTreeMap::new();
        for (name, columns) in parts {
            match columns.iter().all(|(_, column)| column.whole) {
                true => columns.iter().try_for_each(|(name, column)| discrete(name, column, &mut actions))?,
                false => {
                    let dim = columns.iter().map(|(_, column)| column.dim).sum();
                    let values = concatenated(columns, self.steps);
                    actions.insert(name, Actions::Continuous { values, dim });
                }
            }
        }
        check_number(actions.len())?;
        match actions.remove("") {
            Some(only) => Ok(only),
            None => Ok(Actions::Parts(actions)),
        }
    }

    /// Take columns by their role, with the names of their parts. A column of the whole excludes columns of parts.
    fn take(
        &mut self,
        part: impl Fn(&Role) -> Option<String>,
    ) -> Result<Vec<(String, Column)>, TrajectoryError> {
        let (mut taken, mut left) = (vec![], vec![]);
        for (role, column) in std::mem::take(&mut self.columns) {
            match part(&role) {
                Some(part) => taken.push((part, column)),
                None => left.push((role, column)),
            }
        }
        self.columns = left;
        let mut seen = HashSet::new();
        let again = taken.iter().find(|(part, _)| part.is_empty() && taken.len() > 1 || !seen.insert(part));
        if let Some((_, column)) = again {
            let others = smalti_contract::listed(taken.iter().map(|(_, column)| &column.name), ", ");
            let problem = format!("column {:?} conflicts with the others of {others}", column.name);
            return Err(TrajectoryError::Columns(problem));
        }
        Ok(taken)
    }
}

impl Column {
    /// The name of each number of a column that is part `part`.
    fn element_names(&self, part: &str) -> Vec<String> {
        let joined = |element: &str| match part {
            "" => element.to_string(),
            part => format!("{part}.{element}"),
        };
        match (&self.elements[..], self.dim) {
            ([], 1) => vec![part.to_string()],
            ([], dim) => (0..dim).map(|i| joined(&i.to_string())).collect(),
            (elements, _) => elements.iter().map(|element| joined(element)).collect(),
        }
    }
}

/// Concatenate columns of the same steps to one row-major array.
fn concatenated(columns: Vec<(String, Column)>, steps: usize) -> Vec<f32> {
    if let [(_, column)] = &columns[..] {
        return column.values.iter().map(|&value| value as f32).collect();
    }
    let mut values = Vec::with_capacity(columns.iter().map(|(_, column)| column.values.len()).sum());
    for step in 0..steps {
        for (_, column) in &columns {
            let row = &column.values[step * column.dim..(step + 1) * column.dim];
            values.extend(row.iter().map(|&value| value as f32));
        }
    }
    values
}

/// Fail for more than [`MOST_ACTIONS`].
fn check_number(actions: usize) -> Result<(), TrajectoryError> {
    match actions {
        ..=MOST_ACTIONS => Ok(()),
        _ => Err(TrajectoryError::Columns(format!(
            "expected at most {MOST_ACTIONS} discrete actions in a step, found {actions}; write numbers that are no choices \
             as floats"
        ))),
    }
}

/// Convert a column of integers to one discrete action, or to one for each number of a step.
fn discrete(
    name: &str,
    column: &Column,
    parts: &mut BTreeMap<String, Actions>,
) -> Result<(), TrajectoryError> {
    let id = |(step, value): (usize, f64)| match (0.0..=f64::from(u32::MAX)).contains(&value) {
        true => Ok(value as u32),
        false => {
            let expected = format!("a number from 0 to {}", u32::MAX);
            Err(TrajectoryError::value(&column.name, step, expected, value))
        }
    };
    check_number(column.dim)?;
    let width = column.dim.saturating_sub(1).to_string().len();
    for i in 0..column.dim {
        let of_part = column.values.iter().copied().skip(i).step_by(column.dim);
        let ids = of_part.enumerate().map(id).collect::<Result<_, _>>()?;
        let part = match (name, column.dim) {
            (name, 1) => name.to_string(),
            // Names of the same width are sorted like the numbers.
            ("", _) => format!("{i:0width$}"),
            (name, _) => format!("{name}.{i:0width$}"),
        };
        parts.insert(part, Actions::Discrete(ids));
    }
    Ok(())
}
