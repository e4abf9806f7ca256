//! The samples of some rows: each row is one, or windows of time steps or of tokens are.

use super::compose::Purpose;
use super::rows::Rows;
use super::settings::TaskSettings;
use super::windows::{StepWindows, TokenWindows};
use super::{Composition, OpenError};
use crate::data::{Bad, DataError, Dataset, Sample};
use crate::random::{self, mix};
use crate::table::located;
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;
use std::sync::Arc;

/// The value of any field of a row.
pub type Read<'a> = Box<dyn Fn(&str) -> Result<Value, TokenizeError> + 'a>;

/// The samples of some rows.
pub struct Samples {
    task: Arc<Composition>,
    rows: Rows,
    cut: Cut,
    /// The fewest and the most rows that are concatenated.
    concat: [usize; 2],
}

/// What a sample is.
enum Cut {
    Row,
    Steps(StepWindows),
    Tokens(TokenWindows),
}

/// Tells what is drawn for the partner of a blended input, and for the rows that follow in a concatenation, from what is
/// drawn for the row.
const PARTNER: u64 = 1;
const FOLLOWING: u64 = 2;

impl Samples {
    /// Samples of whole rows, or of windows of their time steps.
    pub(super) fn new(
        task: Arc<Composition>,
        rows: Rows,
        settings: &TaskSettings,
    ) -> Result<Self, OpenError> {
        let cut = match task.has_series() {
            true => Cut::Steps(StepWindows::new(&task, &rows, settings.data.context)?),
            false => Cut::Row,
        };
        let concat = settings.data.concat;
        if concat[0] == 0 || concat[0] > concat[1] {
            let problem = format!("expected [fewest, most] with at least 1 row; found {concat:?}");
            return Err(OpenError::Setting { setting: "data.concat".into(), problem });
        }
        if concat != [1, 1] && task.has_series() {
            let problem = format!("rows with series are not concatenated; found {concat:?}");
            return Err(OpenError::Setting { setting: "data.concat".into(), problem });
        }
        Ok(Self { task, rows, cut, concat })
    }

    /// Windows of tokens of all rows' values, of one split.
    pub(super) fn of_tokens(task: Arc<Composition>, rows: Rows, windows: TokenWindows) -> Self {
        Self { task, rows, cut: Cut::Tokens(windows), concat: [1, 1] }
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// What sample `index` is made of when it is evaluated: the values of its fields, its steps, and its identity. Of windows
    /// of tokens it is the first row.
    pub fn row(&self, index: usize) -> (Read<'_>, Range<usize>, u64) {
        let (place, steps) = self.find(index, None);
        let (get, id) = self.read(place, &steps, None);
        (get, steps, id)
    }

    /// The values of a row's fields, cut to these steps, and what tells the sample from every other. With more than one
    /// row to a sample, those that follow it are drawn.
    fn read(&self, place: usize, steps: &Range<usize>, seed: Option<u64>) -> (Read<'_>, u64) {
        let (table, window) = (&self.rows.table, steps.clone());
        let value = move |row: usize, field: &str| {
            // What training rows have and a whole other source lacks is missing there.
            if !table.fields().iter().any(|known| known == field) {
                return Ok(Value::Missing);
            }
            let value = match window.is_empty() {
                true => table.value(row, field),
                false => table.window(row, field, window.clone()),
            };
            value.map_err(|e| TokenizeError::Input(e.to_string()))
        };
        let row = self.rows.rows[place] as usize;
        let id = match &self.cut {
            Cut::Steps(windows) => windows.id(place, steps),
            Cut::Row | Cut::Tokens(_) => row as u64,
        };
        if self.concat == [1, 1] {
            return (Box::new(move |field: &str| value(row, field)), id);
        }
        let seed = mix(seed.unwrap_or(id), FOLLOWING);
        let rows = self.concatenated(row, seed);
        let several = move |field: &str| {
            let values = rows.iter().map(|&row| value(row, field)).collect::<Result<Vec<_>, _>>()?;
            let values: Vec<Value> = values.into_iter().filter(|value| !value.is_missing()).collect();
            Ok(if values.is_empty() { Value::Missing } else { Value::Several { values, seed } })
        };
        (Box::new(several), id)
    }

    /// A row and those that follow it in one sample.
    fn concatenated(&self, row: usize, seed: u64) -> Vec<usize> {
        let generator = &mut random::generator(seed);
        let [fewest, most] = self.concat;
        let n = fewest + random::below(generator, most - fewest + 1);
        let mut next = || self.rows.rows[random::below(generator, self.rows.rows.len())] as usize;
        std::iter::once(row).chain((1..n).map(|_| next())).collect()
    }

    /// The place among the rows and the steps of sample `index`.
    fn find(&self, index: usize, seed: Option<u64>) -> (usize, Range<usize>) {
        match &self.cut {
            Cut::Row => (index, 0..0),
            Cut::Steps(windows) => windows.find(index, seed),
            Cut::Tokens(_) => (0, 0..0),
        }
    }

    /// The row that a training sample of this seed is blended with, if it is. It may be the row itself.
    fn partner(&self, seed: Option<u64>) -> Option<usize> {
        let seed = seed.filter(|&seed| self.task.blends(seed))?;
        Some(random::below(&mut random::generator(mix(seed, PARTNER)), self.rows.rows.len()))
    }
}

impl Dataset for Samples {
    fn len(&self) -> usize {
        match &self.cut {
            Cut::Row => self.rows.rows.len(),
            Cut::Steps(windows) => windows.len(),
            Cut::Tokens(windows) => windows.len(),
        }
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        if let Cut::Tokens(windows) = &self.cut {
            let sample = windows.sample(&self.task, index, seed);
            return sample.map_err(|e| DataError::tokenize(self.rows.table.name(), e));
        }
        let purpose = seed.map_or(Purpose::Evaluate, Purpose::Train);
        let (place, steps) = self.find(index, seed);
        let (get, id) = self.read(place, &steps, seed);
        let partner = self.partner(seed).map(|place| self.read(place, &(0..0), seed).0);
        self.task.blended(&get, partner.as_deref(), steps, purpose, id).map_err(|e| {
            let (row, table) = (self.rows.rows[place] as usize, &self.rows.table);
            let problem = format!("({}): {e}", located(table.as_ref(), row, &self.task.fields()));
            DataError::Sample { task: self.task.spec.label(), id: row as u64, problem }
        })
    }

    fn bad(&self) -> Bad {
        self.rows.corrupt
    }

    fn varies(&self) -> bool {
        !matches!(self.cut, Cut::Row) || self.concat != [1, 1] || self.task.varies()
    }

    fn origin(&self, index: usize) -> Option<String> {
        if matches!(self.cut, Cut::Tokens(_)) || self.concat != [1, 1] {
            return None; // several rows have no one origin
        }
        let (place, steps) = self.find(index, None);
        let row = self.rows.rows[place] as usize;
        Some(format!("{} {steps:?}: {}", row, self.rows.table.origin(row)?))
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.rows.table.skipped()
    }

    fn lanes(&self) -> Vec<(usize, f64)> {
        match &self.cut {
            Cut::Row => self.rows.lanes.clone(),
            Cut::Steps(windows) => windows.lanes(),
            Cut::Tokens(windows) => windows.lanes(),
        }
    }
}
