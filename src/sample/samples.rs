//! The data set of a split: a sample is a row, a window of its time steps, or a window of tokens.

use super::compose::Purpose;
use super::rows::Rows;
use super::settings::TaskSettings;
use super::values::with_remedy;
use super::windows::{StepWindows, TokenWindows};
use super::{Composition, OpenError};
use crate::data::{DataError, Dataset, OnCorruptSample, Sample};
use crate::random::{self, mix};
use crate::table::located;
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;
use std::sync::Arc;

/// An owned [`GetField`](super::GetField).
pub type BoxedGetField<'a> = Box<dyn Fn(&str) -> Result<Value, TokenizeError> + 'a>;

/// The samples of some rows.
pub struct Samples {
    task: Arc<Composition>,
    rows: Rows,
    windowing: Windowing,
    /// Minimum and maximum number of rows that are concatenated in a sample.
    concat: [usize; 2],
}

/// How rows are divided into samples.
enum Windowing {
    WholeRows,
    TimeSteps(StepWindows),
    Tokens(TokenWindows),
}

/// Most rows that are concatenated in a sample.
const MOST_CONCAT: usize = 1 << 12;
/// Mixed into a sample's seed to choose the partner of a blended input, and the rows that are concatenated.
const PARTNER_KEY: u64 = 1;
const CONCAT_KEY: u64 = 2;

impl Samples {
    /// Samples of whole rows, or of windows of their time steps.
    pub(super) fn new(
        task: Arc<Composition>,
        rows: Rows,
        settings: &TaskSettings,
    ) -> Result<Self, OpenError> {
        let windowing = match task.has_series() {
            true => Windowing::TimeSteps(StepWindows::new(&task, &rows, settings.data.context)?),
            false => Windowing::WholeRows,
        };
        let concat = settings.data.concat;
        if concat[0] == 0 || concat[0] > concat[1] || concat[1] > MOST_CONCAT {
            let problem = format!("expected [fewest, most] with 1 to {MOST_CONCAT} rows; found {concat:?}");
            return Err(OpenError::Setting { setting: "data.concat".into(), problem });
        }
        if concat != [1, 1] && task.has_series() {
            let problem = format!("expected [1, 1] for rows with series; found {concat:?}");
            return Err(OpenError::Setting { setting: "data.concat".into(), problem });
        }
        Ok(Self { task, rows, windowing, concat })
    }

    /// Windows of the tokens of all rows.
    pub(super) fn of_tokens(task: Arc<Composition>, rows: Rows, windows: TokenWindows) -> Self {
        Self { task, rows, windowing: Windowing::Tokens(windows), concat: [1, 1] }
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The place of sample `index` in evaluation, for people: the file or the row of the source without the source's name, of a
    /// window of time steps these too; of a window of tokens its number.
    pub fn location(&self, index: usize) -> String {
        if matches!(self.windowing, Windowing::Tokens(_)) {
            return format!("window {index}");
        }
        let (place, steps) = self.find(index, None);
        let (row, table) = (self.rows.rows[place] as usize, &self.rows.table);
        let location = table.location(row);
        let end = steps.end.min(table.steps(row));
        let within = location.strip_prefix(table.name()).unwrap_or(&location);
        let within = within.trim_start_matches(['/', ' ', ':']);
        let name = if within.is_empty() { &location } else { within };
        match end.checked_sub(1) {
            Some(last) => format!("{name}, steps {} to {last}", steps.start),
            None => name.into(),
        }
    }

    /// The row of sample `index` in evaluation: access to its fields, the time steps of the sample, and the sample's id. For
    /// windows of tokens, the first row.
    pub fn row(&self, index: usize) -> (BoxedGetField<'_>, Range<usize>, u64) {
        let (place, steps) = self.find(index, None);
        let (get, id) = self.get_field(place, &steps, None);
        (get, steps, id)
    }

    /// Access to a row's fields in a window of these steps, and the sample's id. With `concat`, the rows after the first are
    /// chosen at random.
    fn get_field(&self, place: usize, steps: &Range<usize>, seed: Option<u64>) -> (BoxedGetField<'_>, u64) {
        let (table, window) = (&self.rows.table, steps.clone());
        let value = move |row: usize, field: &str| {
            // A validation source may lack a field of the training source.
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
        let id = match &self.windowing {
            Windowing::TimeSteps(windows) => windows.id(place, steps),
            Windowing::WholeRows | Windowing::Tokens(_) => row as u64,
        };
        if self.concat == [1, 1] {
            return (Box::new(move |field: &str| value(row, field)), id);
        }
        let seed = mix(seed.unwrap_or(id), CONCAT_KEY);
        let rows = self.concatenated(row, seed);
        let several = move |field: &str| {
            let values = rows.iter().map(|&row| value(row, field)).collect::<Result<Vec<_>, _>>()?;
            let values: Vec<Value> = values.into_iter().filter(|value| !value.is_missing()).collect();
            Ok(if values.is_empty() { Value::Missing } else { Value::Several { values, seed } })
        };
        (Box::new(several), id)
    }

    /// The rows of a concatenated sample: `row`, then random ones.
    fn concatenated(&self, row: usize, seed: u64) -> Vec<usize> {
        let generator = &mut random::generator(seed);
        let [fewest, most] = self.concat;
        let n = fewest + random::below(generator, most - fewest + 1);
        let mut next = || self.rows.rows[random::below(generator, self.rows.rows.len())] as usize;
        std::iter::once(row).chain((1..n).map(|_| next())).collect()
    }

    /// The place of sample `index` among the rows, and its time steps.
    fn find(&self, index: usize, seed: Option<u64>) -> (usize, Range<usize>) {
        match &self.windowing {
            Windowing::WholeRows => (index, 0..0),
            Windowing::TimeSteps(windows) => windows.find(index, seed),
            Windowing::Tokens(_) => (0, 0..0),
        }
    }

    /// The place of the row that a training sample of this seed is blended with, which may be its own row; `None` without
    /// blending.
    fn partner(&self, seed: Option<u64>) -> Option<usize> {
        let seed = seed.filter(|&seed| self.task.blends(seed))?;
        Some(random::below(&mut random::generator(mix(seed, PARTNER_KEY)), self.rows.rows.len()))
    }

    /// Sample `index` for training or evaluation.
    fn sample_for(&self, index: usize, purpose: Purpose) -> Result<Sample, DataError> {
        if let Windowing::Tokens(windows) = &self.windowing {
            let sample = windows.sample(&self.task, index, purpose);
            return sample.map_err(|e| DataError::tokenize(self.rows.table.name(), e));
        }
        let seed = purpose.seed();
        let (place, steps) = self.find(index, seed);
        let (get, id) = self.get_field(place, &steps, seed);
        let partner = self.partner(seed).map(|place| self.get_field(place, &(0..0), seed).0);
        self.task.blended(&get, partner.as_deref(), steps, purpose, id).map_err(|e| {
            let (row, table) = (self.rows.rows[place] as usize, &self.rows.table);
            let e = match self.rows.corrupt {
                OnCorruptSample::Fail => with_remedy(&e.to_string()),
                OnCorruptSample::Skip => e.to_string(),
            };
            let problem = format!("({}): {e}", located(table.as_ref(), row, &self.task.fields()));
            let problem = match self.task.spec.name.as_str() {
                "" => problem,
                name => problem.replace("--set ", &format!("--set mix.{name}.")),
            };
            DataError::Sample { task: self.task.spec.label(), id: row as u64, problem }
        })
    }
}

impl Dataset for Samples {
    fn len(&self) -> usize {
        match &self.windowing {
            Windowing::WholeRows => self.rows.rows.len(),
            Windowing::TimeSteps(windows) => windows.len(),
            Windowing::Tokens(windows) => windows.len(),
        }
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        self.sample_for(index, seed.map_or(Purpose::Evaluate(0), Purpose::Train))
    }

    fn versions(&self) -> usize {
        self.task.versions()
    }

    fn version(&self, index: usize, version: usize) -> Result<Sample, DataError> {
        self.sample_for(index, Purpose::Evaluate(version))
    }

    fn on_corrupt(&self) -> OnCorruptSample {
        self.rows.corrupt
    }

    fn varies(&self) -> bool {
        !matches!(self.windowing, Windowing::WholeRows) || self.concat != [1, 1] || self.task.varies()
    }

    fn origin(&self, index: usize) -> Option<String> {
        if matches!(self.windowing, Windowing::Tokens(_)) || self.concat != [1, 1] {
            return None; // the sample has several rows
        }
        let (place, steps) = self.find(index, None);
        let row = self.rows.rows[place] as usize;
        Some(format!("{} {steps:?}: {}", row, self.rows.table.origin(row)?))
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.rows.table.skipped()
    }

    fn lanes(&self) -> Vec<(usize, f64)> {
        match &self.windowing {
            Windowing::WholeRows => self.rows.sources.clone(),
            Windowing::TimeSteps(windows) => windows.sources(),
            Windowing::Tokens(windows) => windows.sources(),
        }
    }
}
