//! The rows of a task: which of them train, and which validate.

use super::OpenError;
use super::aliases::aliased;
use super::settings::{KeepBest, OneOrMany, TaskSettings};
use super::values::FieldValues;
use crate::data::Bad;
use crate::table::{self, Source, SourceRegistry, Table};
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
    pub(super) lanes: Lanes,
    /// What becomes of a row that cannot be read.
    pub corrupt: Bad,
}

impl Rows {
    /// The rows that train and those that validate. Unless the settings name rows that validate, with `hold_out` some of
    /// the training rows are held out; otherwise all rows are in both, to be parted when they are cut.
    ///
    /// # Errors
    /// [`OpenError`] for sources that cannot be read, filters of unknown fields, and splits without a row.
    pub fn split(
        settings: &TaskSettings,
        sources: &SourceRegistry,
        hold_out: bool,
    ) -> Result<(Self, Self), OpenError> {
        let data = &settings.data;
        let open = |source: &OneOrMany<Source>| -> Result<(Arc<dyn Table>, Lanes), OpenError> {
            let opened = table::open_all(source.as_slice(), sources)?;
            let lanes = opened.lanes();
            let derived = table::derive(aliased(Arc::new(opened), settings)?, &data.derived)?;
            Ok((derived, lanes))
        };
        let (table, lanes) = open(&data.source)?;
        let filtered = |table: &Arc<dyn Table>, filter: &Option<String>| match filter.as_deref() {
            None | Some("") => Ok::<_, OpenError>(None),
            Some(filter) => Ok(Some(table::select(table.as_ref(), filter)?)),
        };
        let best = data.keep_best.as_ref().map(|best| kept(table.as_ref(), best)).transpose()?;
        let all = |table: &Arc<dyn Table>| (0..table.len() as u32).collect::<Vec<u32>>();
        let train = filtered(&table, &data.train)?;
        let train = match (train, best) {
            (Some(train), Some(best)) => {
                Some(train.into_iter().filter(|row| best.binary_search(row).is_ok()).collect())
            }
            (train, best) => train.or(best),
        };
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
                if !hold_out {
                    let both = part(&table, train, &lanes);
                    return checked(both.clone(), both);
                }
                let (rest, held) = table::hold_out(train.len(), data.holdout)
                    .map_err(|problem| format!("{}: {problem}", table.name()))
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
            // What the source has and no reader takes: videos, say.
            let why = self.table.skipped().iter().find(|(what, _)| what.ends_with(field.as_str()));
            let why = why.map_or(String::new(), |(what, why)| format!("; {what}: {why}"));
            let (name, known) = (self.table.name(), known.join(", "));
            let problem = format!("no row has the field {field:?}; {name} has {known}{why}");
            return Err(OpenError::Setting { setting: format!("{part}.field"), problem });
        }
        Ok(FieldValues::new(self.table.clone(), &self.rows, fields, self.corrupt == Bad::Skip))
    }

    /// The number of time steps of each row.
    pub(super) fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|&row| self.table.steps(row as usize))
    }
}

/// The rows in which a number is largest, in ascending order.
fn kept(table: &dyn Table, KeepBest { field, share }: &KeepBest) -> Result<Vec<u32>, OpenError> {
    let refuse = |problem| OpenError::Setting { setting: "data.keep_best".into(), problem };
    if !(*share > 0.0 && *share <= 1.0) {
        return Err(refuse(format!("share: expected above 0 and at most 1; found {share}")));
    }
    let mut numbered = Vec::with_capacity(table.len());
    for row in 0..table.len() {
        let number = table.value(row, field)?.into_numbers();
        let number = number.map_err(|e| refuse(format!("field {field}: {}: {e}", table.location(row))))?;
        numbered.push((number.first().copied().unwrap_or(f32::NEG_INFINITY), row as u32));
    }
    numbered.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    numbered.truncate(((numbered.len() as f64 * share).ceil() as usize).max(1));
    let mut rows: Vec<u32> = numbered.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable();
    Ok(rows)
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
