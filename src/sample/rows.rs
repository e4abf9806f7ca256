//! The rows of a task, and their samples.

use super::compose::Purpose;
use super::settings::{DataSettings, OneOrMany, TaskSettings};
use super::values::FieldValues;
use super::{Composition, OpenError};
use crate::data::{Bad, DataError, Dataset, Sample};
use crate::random;
use crate::table::{self, Source, SourceRegistry, Table};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;
use std::sync::Arc;

/// Stretches of rows: how many there are of each, and its weight in the draws.
type Lanes = Vec<(usize, f64)>;

/// Some rows of a table.
#[derive(Clone)]
pub struct Rows {
    /// The table.
    pub table: Arc<dyn Table>,
    /// The numbers of the rows.
    pub rows: Vec<u32>,
    /// The stretches of rows that training shuffles each by itself: how many rows, and their weight in the draws.
    lanes: Lanes,
    /// What becomes of a row that cannot be read.
    pub corrupt: Bad,
}

impl Rows {
    /// The rows that train and those that validate.
    ///
    /// # Errors
    /// [`OpenError`] for sources that cannot be read, filters of unknown fields, and splits without a row.
    pub fn split(data: &DataSettings, sources: &SourceRegistry) -> Result<(Self, Self), OpenError> {
        let open = |source: &OneOrMany<Source>| -> Result<(Arc<dyn Table>, Lanes), OpenError> {
            let opened = table::open_all(source.as_slice(), sources)?;
            let lanes = opened.lanes();
            let derived = table::derive(Arc::new(opened), &data.derived)?;
            Ok((derived, lanes))
        };
        let (table, lanes) = open(&data.source)?;
        let filtered = |table: &Arc<dyn Table>, filter: &Option<String>| match filter.as_deref() {
            None | Some("") => Ok::<_, OpenError>(None),
            Some(filter) => Ok(Some(table::select(table.as_ref(), filter)?)),
        };
        let all = |table: &Arc<dyn Table>| (0..table.len() as u32).collect::<Vec<u32>>();
        let train = filtered(&table, &data.train)?;
        let part = |table: &Arc<dyn Table>, rows: Vec<u32>, lanes: &[(usize, f64)]| Self {
            lanes: lanes_of(&rows, lanes),
            table: table.clone(),
            rows,
            corrupt: data.corrupt_samples,
        };
        if let Some(source) = &data.validation_source {
            let (elsewhere, other_lanes) = open(source)?;
            let validation = filtered(&elsewhere, &data.validation)?.unwrap_or_else(|| all(&elsewhere));
            let train = train.unwrap_or_else(|| all(&table));
            return checked(part(&table, train, &lanes), part(&elsewhere, validation, &other_lanes));
        }
        let (train, validation) = match (train, filtered(&table, &data.validation)?) {
            (train, None) => {
                let train = train.unwrap_or_else(|| all(&table));
                let (rest, held) = table::hold_out(train.len(), data.holdout)
                    .map_err(|problem| OpenError::Setting { setting: "data.holdout".into(), problem })?;
                let pick = |places: Vec<u32>| {
                    let mut rows: Vec<u32> = places.into_iter().map(|place| train[place as usize]).collect();
                    rows.sort_unstable();
                    rows
                };
                (pick(rest), pick(held))
            }
            (train, Some(validation)) => {
                let validates = |row: &u32| validation.binary_search(row).is_ok();
                let train = match train {
                    None => all(&table).into_iter().filter(|row| !validates(row)).collect(),
                    Some(train) => {
                        let both = train.iter().filter(|row| validates(row)).count();
                        if both > 0 {
                            let problem = format!(
                                "selects {both} rows that data.train selects too; a row may either train or validate"
                            );
                            return Err(OpenError::Setting { setting: "data.validation".into(), problem });
                        }
                        train
                    }
                };
                (train, validation)
            }
        };
        checked(part(&table, train, &lanes), part(&table, validation, &lanes))
    }

    /// The values of a part's fields.
    pub(super) fn values(&self, part: &str, fields: &[String]) -> Result<FieldValues, OpenError> {
        let known = self.table.fields();
        if let Some(field) = fields.iter().find(|field| !known.contains(field)) {
            let problem =
                format!("no row has the field {field:?}; {} has {}", self.table.name(), known.join(", "));
            return Err(OpenError::Setting { setting: format!("{part}.field"), problem });
        }
        Ok(FieldValues::new(self.table.clone(), &self.rows, fields, self.corrupt == Bad::Skip))
    }

    /// The number of time steps of each row.
    pub(super) fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|&row| self.table.steps(row as usize))
    }
}

/// Both splits, neither of which may be without a row.
fn checked(train: Rows, validation: Rows) -> Result<(Rows, Rows), OpenError> {
    for (rows, setting) in [(&train, "data.train"), (&validation, "data.validation")] {
        if rows.rows.is_empty() {
            let problem = format!("selects none of the {} rows of {}", rows.table.len(), rows.table.name());
            return Err(OpenError::Setting { setting: setting.into(), problem });
        }
    }
    Ok((train, validation))
}

/// How many of some rows, in ascending order, lie in each stretch of the whole table.
fn lanes_of(rows: &[u32], lanes: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let mut start = 0;
    let count = |&(len, weight): &(usize, f64)| {
        let range = start as u32..(start + len) as u32;
        start += len;
        (rows.iter().filter(|row| range.contains(row)).count(), weight)
    };
    lanes.iter().map(count).filter(|(n, _)| *n > 0).collect()
}

/// The value of any field of a row.
pub type Read<'a> = Box<dyn Fn(&str) -> Result<Value, TokenizeError> + 'a>;

/// The samples of some rows.
pub struct Samples {
    task: Arc<Composition>,
    rows: Rows,
    windows: Option<Windows>,
}

/// Windows of rows with series.
struct Windows {
    /// For each row, the number of steps before it.
    starts: Vec<usize>,
    /// Steps in all.
    steps: usize,
    /// The windows that are evaluated, one after another, each within its row: the row's place and its first step.
    evaluated: Vec<(u32, usize)>,
    context: usize,
    /// Whether training may begin a window at any step: what is predicted is a series. Otherwise a window is as long
    /// as it can be.
    anywhere: bool,
}

impl Samples {
    pub(super) fn new(
        task: Arc<Composition>,
        rows: Rows,
        settings: &TaskSettings,
    ) -> Result<Self, OpenError> {
        let windows = task.has_series().then(|| {
            let context = settings.data.context;
            let (mut starts, mut evaluated, mut steps) = (vec![], vec![], 0);
            for (place, n) in rows.steps().enumerate() {
                starts.push(steps);
                evaluated.extend((0..n).step_by(context.max(1)).map(|first| (place as u32, first)));
                steps += n;
            }
            let anywhere = task.outputs().iter().any(|output| output.is_series(task.parts()));
            Windows { starts, steps, evaluated, context, anywhere }
        });
        if let Some(windows) = &windows {
            let refuse =
                |setting: &str, problem: String| OpenError::Setting { setting: setting.into(), problem };
            if windows.context == 0 {
                return Err(refuse("data.context", "expected 1 or more steps; found 0".into()));
            }
            if windows.steps == 0 {
                return Err(refuse("data.source", "no row has a time step".into()));
            }
        }
        Ok(Self { task, rows, windows })
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// What sample `index` is made of when it is evaluated: the values of its fields, its steps, and its identity.
    pub fn row(&self, index: usize) -> (Read<'_>, Range<usize>, u64) {
        let (place, steps) = self.find(index, None);
        let (get, id) = self.read(place, &steps);
        (get, steps, id)
    }

    /// The values of a row's fields, cut to these steps, and what tells the sample from every other.
    fn read(&self, place: usize, steps: &Range<usize>) -> (Read<'_>, u64) {
        let (table, row, window) = (&self.rows.table, self.rows.rows[place] as usize, steps.clone());
        let get = move |field: &str| {
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
        let id = self.windows.as_ref().map_or(row, |windows| windows.starts[place] + steps.start);
        (Box::new(get), id as u64)
    }

    /// The place among the rows and the steps of sample `index`.
    fn find(&self, index: usize, seed: Option<u64>) -> (usize, Range<usize>) {
        let Some(Windows { starts, steps, evaluated, context, anywhere }) = &self.windows else {
            return (index, 0..0);
        };
        let (place, first) = match seed.map(random::generator) {
            None => (evaluated[index].0 as usize, evaluated[index].1),
            Some(mut generator) if *anywhere => {
                let step = random::below(&mut generator, *steps);
                let place = starts.partition_point(|&start| start <= step) - 1;
                (place, step - starts[place])
            }
            Some(mut generator) => {
                let place = evaluated[index].0 as usize;
                let n = self.rows.table.steps(self.rows.rows[place] as usize);
                (place, random::below(&mut generator, n.saturating_sub(*context) + 1))
            }
        };
        (place, first..first + context)
    }
}

impl Dataset for Samples {
    fn len(&self) -> usize {
        self.windows.as_ref().map_or(self.rows.rows.len(), |windows| windows.evaluated.len())
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let purpose = seed.map_or(Purpose::Evaluate, Purpose::Train);
        let (place, steps) = self.find(index, seed);
        let (get, id) = self.read(place, &steps);
        self.task.sample(&get, steps, purpose, id).map_err(|e| {
            let (row, table) = (self.rows.rows[place] as usize, &self.rows.table);
            let problem = format!("({}): {e}", table.location(row));
            DataError::Sample { task: self.task.label(), id: row as u64, problem }
        })
    }

    fn bad(&self) -> Bad {
        self.rows.corrupt
    }

    fn origin(&self, index: usize) -> Option<String> {
        let (place, steps) = self.find(index, None);
        let row = self.rows.rows[place] as usize;
        Some(format!("{} {steps:?}: {}", row, self.rows.table.origin(row)?))
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.rows.table.skipped()
    }

    fn lanes(&self) -> Vec<(usize, f64)> {
        match (&self.windows, self.rows.lanes.len()) {
            (None, 2..) => self.rows.lanes.clone(),
            _ => vec![(self.len(), 1.0)],
        }
    }
}
