//! The rows of a task's training and validation splits.

use super::OpenError;
use super::aliases::aliased;
use super::plan;
use super::settings::{DataSettings, KeepBest, OneOrMany, TaskSettings};
use super::values::FieldValues;
use crate::data::OnCorruptSample;
use crate::table::{self, Source, SourceRegistry, Splits, Table};
use smalti_contract::Value;
use std::sync::Arc;

/// For each source, its number of rows and its sampling weight.
type SourceSizes = Vec<(usize, f64)>;

/// The rows of a split.
#[derive(Clone)]
pub struct Rows {
    /// The table.
    pub table: Arc<dyn Table>,
    /// The numbers of the rows.
    pub rows: Vec<u32>,
    /// For each source, its number of rows and its sampling weight; training shuffles each source separately.
    pub(super) sources: SourceSizes,
    /// Whether a corrupt row is an error or is skipped.
    pub corrupt: OnCorruptSample,
    /// How the rows were chosen, for messages: "10% held out of 1000 rows of photos".
    pub chosen: String,
}

/// The training and the validation rows, and how they were chosen if no setting says it.
pub(super) struct BothSplits {
    pub train: Rows,
    pub validation: Rows,
    pub note: Option<String>,
}

impl Rows {
    /// Whether both splits have the same rows of one table, whose tokens they divide.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.rows == other.rows
    }

    /// The training and validation rows.
    ///
    /// If no filter and no source of validation rows is set, the rows of the split `validation` are for validation or,
    /// without any, those of `test`; no row of either is for training. A split without targets is passed over. Otherwise, if the settings name no validation rows,
    /// `hold_out` moves a share of the training rows to the validation split; without it both splits have all rows, for
    /// token windows that divide them later.
    ///
    /// # Errors
    /// [`OpenError`] for unreadable sources, filters of unknown fields, and empty splits.
    pub(super) fn split(
        settings: &TaskSettings,
        sources: &SourceRegistry,
        hold_out: bool,
    ) -> Result<BothSplits, OpenError> {
        let data = &settings.data;
        let open = |source: &OneOrMany<Source>| -> Result<(Arc<dyn Table>, SourceSizes), OpenError> {
            let opened = table::open_all(source.as_slice(), sources)?;
            let sizes = opened.lanes();
            let derived = table::derive(aliased(Arc::new(opened), settings)?, &data.derived)?;
            Ok((derived, sizes))
        };
        let (table, sizes) = open(&data.source)?;
        let split = |table: &Arc<dyn Table>, rows: Vec<u32>, sizes: &[(usize, f64)]| Self {
            sources: sizes_within(&rows, sizes),
            chosen: chosen(table.as_ref(), &rows),
            table: table.clone(),
            rows,
            corrupt: data.corrupt_samples,
        };
        if let Some(source) = &data.validation_source {
            let is_same = *source == data.source;
            let (validation_table, validation_sizes) =
                if is_same { (table.clone(), sizes.clone()) } else { open(source)? };
            let validation = filtered(&validation_table, "data.validation", &data.validation)?;
            let validation = validation.unwrap_or_else(|| all(&validation_table));
            let train = training_rows(&table, data)?.unwrap_or_else(|| all(&table));
            let validation = split(&validation_table, validation, &validation_sizes);
            return not_empty(data, split(&table, train, &sizes), validation, None);
        }
        let named = named_splits(&table, settings)?;
        if let Some(NamedSplits { train, validation: Some((name, rows)), unlabelled }) = named {
            let (n, m) = (train.len(), rows.len());
            let note = format!(
                "data: {n} rows for training, the {m} of the split {name} for validation{unlabelled}; set data.train and \
                 data.validation to choose others"
            );
            let validation = split(&table, rows, &sizes);
            return not_empty(data, split(&table, train, &sizes), validation, Some(note));
        }
        let (named, unlabelled) = named.map(|named| (named.train, named.unlabelled)).unzip();
        let train = if named.is_some() { named } else { training_rows(&table, data)? };
        let validation = filtered(&table, "data.validation", &data.validation)?;
        let Some(validation) = validation else {
            let selects_none = train.as_ref().is_some_and(Vec::is_empty);
            let train = train.unwrap_or_else(|| all(&table));
            if !hold_out || selects_none {
                let both = split(&table, train, &sizes);
                return not_empty(data, both.clone(), both, None);
            }
            let (rest, held) = held_out(&table, &train, data.holdout)?;
            let (n, m, share) = (rest.len(), held.len(), data.holdout);
            let unlabelled = unlabelled.unwrap_or_default();
            let note = format!(
                "data: {n} rows for training, {m} held out for validation (data.holdout = {share}){unlabelled}"
            );
            let (name, all) = (table.name(), n + m);
            let chosen = format!("{}% held out of {all} rows of {name} at random", percent(share));
            let held = Self { chosen, ..split(&table, held, &sizes) };
            return not_empty(data, split(&table, rest, &sizes), held, Some(note));
        };
        let train = apart(&table, train, &validation)?;
        not_empty(data, split(&table, train, &sizes), split(&table, validation, &sizes), None)
    }

    /// The values of a part's fields.
    pub(super) fn values(&self, part: &str, fields: &[String]) -> Result<FieldValues, OpenError> {
        let known = self.table.fields();
        if let Some(field) = fields.iter().find(|field| !known.contains(field)) {
            // A field that no reader supports, such as a video.
            let skipped = self.table.skipped().iter().find(|(name, _)| name.ends_with(field.as_str()));
            let reason = skipped.map_or(String::new(), |(name, reason)| format!("; {name}: {reason}"));
            let (name, known) = (self.table.name(), smalti_contract::listed(known, ", "));
            // Files alone have a class by their folder.
            let is_unsorted =
                part.starts_with("outputs.") && self.table.fields().iter().any(|known| known == "file");
            let sort = match is_unsorted {
                true => {
                    format!("sort files into class folders ({name}/CLASS/FILE, {name}/train/CLASS/FILE), or ")
                }
                false => String::new(),
            };
            let problem = format!(
                "no row has the field {field:?}; {name} has {known}{reason}: {sort}name another field with --set \
                 {part}.field=FIELD"
            );
            return Err(OpenError::Setting { setting: format!("{part}.field"), problem });
        }
        Ok(FieldValues::new(self.table.clone(), &self.rows, fields, self.corrupt == OnCorruptSample::Skip))
    }

    /// The number of time steps of each row.
    pub(super) fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|&row| self.table.steps(row as usize))
    }
}

/// A share in percent, rounded.
pub(super) fn percent(share: f64) -> f64 {
    (1e4 * share).round() / 100.0
}

/// How these rows of a table were chosen.
fn chosen(table: &dyn Table, rows: &[u32]) -> String {
    match (rows.len(), table.len()) {
        (some, all) if some < all => format!("{some} of {all} rows of {}", table.name()),
        (1, _) => format!("the only row of {}", table.name()),
        (all, _) => format!("all {all} rows of {}", table.name()),
    }
}

/// The share of rows with the largest value of a field, in ascending order.
fn best_rows(table: &dyn Table, KeepBest { field, share }: &KeepBest) -> Result<Vec<u32>, OpenError> {
    let refuse = |problem| OpenError::Setting { setting: "data.keep_best".into(), problem };
    if !(*share > 0.0 && *share <= 1.0) {
        return Err(refuse(format!("share: expected more than 0 and at most 1; found {share}")));
    }
    let mut ranked = Vec::with_capacity(table.len());
    for row in 0..table.len() {
        let number = table.value(row, field)?.into_numbers();
        let number = number.map_err(|e| refuse(format!("field {field}: {}: {e}", table.location(row))))?;
        ranked.push((number.first().copied().unwrap_or(f32::NEG_INFINITY), row as u32));
    }
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranked.truncate(((ranked.len() as f64 * share).ceil() as usize).max(1));
    let mut rows: Vec<u32> = ranked.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable();
    Ok(rows)
}

/// All rows.
fn all(table: &Arc<dyn Table>) -> Vec<u32> {
    (0..table.len() as u32).collect()
}

/// The rows that pass the filter of this setting, if it is set.
fn filtered(
    table: &Arc<dyn Table>,
    setting: &str,
    filter: &Option<String>,
) -> Result<Option<Vec<u32>>, OpenError> {
    match filter.as_deref() {
        None | Some("") => Ok(None),
        Some(filter) => table::select(table.as_ref(), filter)
            .map_err(|error| OpenError::Setting { setting: setting.into(), problem: error.to_string() }),
    }
}

/// The rows that `data.train` and `data.keep_best` select; `None` if neither is set.
fn training_rows(table: &Arc<dyn Table>, data: &DataSettings) -> Result<Option<Vec<u32>>, OpenError> {
    let train = filtered(table, "data.train", &data.train)?;
    let best = data.keep_best.as_ref().map(|best| best_rows(table.as_ref(), best)).transpose()?;
    Ok(match (train, best) {
        (Some(train), Some(best)) => Some(both(train, &best)),
        (train, best) => train.or(best),
    })
}

/// The rows of both lists; the second is in ascending order.
fn both(rows: Vec<u32>, others: &[u32]) -> Vec<u32> {
    rows.into_iter().filter(|row| others.binary_search(row).is_ok()).collect()
}

/// The training rows; without a filter of their own, all that are not for validation.
fn apart(table: &Arc<dyn Table>, train: Option<Vec<u32>>, validation: &[u32]) -> Result<Vec<u32>, OpenError> {
    let is_validation = |row: &u32| validation.binary_search(row).is_ok();
    let Some(train) = train else {
        return Ok(all(table).into_iter().filter(|row| !is_validation(row)).collect());
    };
    match train.iter().filter(|row| is_validation(row)).count() {
        0 => Ok(train),
        n => Err(OpenError::Setting {
            setting: "data.validation".into(),
            problem: format!("selects {n} rows that data.train selects too; the splits must not overlap"),
        }),
    }
}

/// The rows of the splits that a table names.
struct NamedSplits {
    train: Vec<u32>,
    /// The name and rows of the split for validation; `None` if each that could be has no targets.
    validation: Option<(&'static str, Vec<u32>)>,
    /// A clause of the splits without targets, for notes; empty if there is none.
    unlabelled: String,
}

/// The training and validation rows by the splits that the table names. `None` if a filter is set,
/// also an empty one, or the table does not name a split for each.
fn named_splits(table: &Arc<dyn Table>, settings: &TaskSettings) -> Result<Option<NamedSplits>, OpenError> {
    let data = &settings.data;
    if data.train.is_some() || data.validation.is_some() {
        return Ok(None);
    }
    let Splits { train, validation, test } = table::splits(table.as_ref())?;
    let train = match training_rows(table, data)? {
        Some(best) => both(train, &best),
        None => train,
    };
    let mut others = vec![("validation", validation), ("test", test)];
    others.retain(|(_, rows)| !rows.is_empty());
    if train.is_empty() || others.is_empty() {
        return Ok(None);
    }
    let mut named = NamedSplits { train, validation: None, unlabelled: String::new() };
    for (name, rows) in others {
        if has_targets(table.as_ref(), &rows, settings) {
            named.validation = Some((name, rows));
            break;
        }
        named.unlabelled += &format!("; no row of the split {name} has a value of an output's field");
    }
    Ok(Some(named))
}

/// Whether some of these rows has a value of a field that an output reads; true if no output reads a field.
fn has_targets(table: &dyn Table, rows: &[u32], settings: &TaskSettings) -> bool {
    let fields = settings.outputs.iter().flat_map(|(name, output)| plan::fields(name, &output.field));
    let fields: Vec<String> = fields.filter(|field| table.fields().contains(field)).collect();
    // A value that cannot be read is reported when a part reads it.
    let has_value =
        |row: usize| fields.iter().any(|field| !matches!(table.peek(row, field), Ok(Value::Missing)));
    fields.is_empty() || rows.iter().any(|&row| has_value(row as usize))
}

/// These rows without a share of them, and that share, both in ascending order.
fn held_out(table: &Arc<dyn Table>, rows: &[u32], share: f64) -> Result<(Vec<u32>, Vec<u32>), OpenError> {
    let (rest, held) = table::hold_out(rows.len(), share)
        .map_err(|problem| format!("{}: {problem}", table.name()))
        .map_err(|problem| OpenError::Setting { setting: "data.holdout".into(), problem })?;
    let pick = |places: Vec<u32>| {
        let mut picked: Vec<u32> = places.into_iter().map(|place| rows[place as usize]).collect();
        picked.sort_unstable();
        picked
    };
    Ok((pick(rest), pick(held)))
}

/// Both splits; fails if one is empty.
fn not_empty(
    data: &DataSettings,
    train: Rows,
    validation: Rows,
    note: Option<String>,
) -> Result<BothSplits, OpenError> {
    let train_filter = (&train, "data.train", data.train.as_deref().unwrap_or_default());
    let validation_filter = (&validation, "data.validation", data.validation.as_deref().unwrap_or_default());
    for (rows, setting, filter) in [train_filter, validation_filter] {
        if rows.rows.is_empty() {
            let (n, name) = (rows.table.len(), rows.table.name());
            let mut problem = format!("selects none of the {n} rows of {name}");
            if !filter.is_empty() {
                let found = table::compared_values(rows.table.as_ref(), filter);
                problem += &format!(
                    ": the filter is {filter:?}, and {found}; set another filter, or none (--set data.train= --set \
                     data.validation=) to hold out a share of all rows"
                );
            }
            return Err(OpenError::Setting { setting: setting.into(), problem });
        }
    }
    Ok(BothSplits { train, validation, note })
}

/// The number of these rows from each source, with its weight; sources without rows are left out.
fn sizes_within(rows: &[u32], sizes: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let mut start = 0;
    let count = |&(len, weight): &(usize, f64)| {
        let range = start as u32..(start + len) as u32;
        start += len;
        (rows.iter().filter(|row| range.contains(row)).count(), weight)
    };
    sizes.iter().map(count).filter(|(n, _)| *n > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{at, folder_of};

    /// The numbers of training and validation rows, and the note.
    fn split(folder: &tempfile::TempDir, path: &str) -> (usize, usize, String) {
        let toml = format!("[data]\nsource = {:?}\n[outputs.label]\nhead = \"classify\"", at(folder, path));
        let settings: TaskSettings = toml::from_str(&toml).unwrap();
        let both = Rows::split(&settings, &SourceRegistry::builtin(), true).unwrap();
        (both.train.rows.len(), both.validation.rows.len(), both.note.unwrap_or_default())
    }

    #[test]
    fn a_split_without_targets_is_passed_over() {
        let train = format!("id,label\n{}", "1,cat\n2,dog\n".repeat(10));
        let folder = folder_of(&[
            ("test/train.csv", train.as_bytes()),
            ("test/test.csv", b"id\n3\n4\n"),
            ("both/train.csv", train.as_bytes()),
            ("both/val.csv", b"id,label\n3,\n"),
            ("both/test.csv", b"id,label\n4,cat\n5,\n"),
        ]);
        let (train, validation, note) = split(&folder, "test");
        assert_eq!((train, validation), (18, 2), "{note}");
        assert!(note.ends_with("; no row of the split test has a value of an output's field"), "{note}");
        let (train, validation, note) = split(&folder, "both");
        assert_eq!((train, validation), (20, 2), "{note}");
        assert!(
            note.contains("the 2 of the split test for validation; no row of the split validation"),
            "{note}"
        );
    }
}
