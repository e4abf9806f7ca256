//! Generated rows as a table.

use super::kind::{Distinct, Draw, Entry, Rows};
use super::{Sizes, SyntheticError, setting};
use crate::data::DataError;
use crate::random::{Permutation, generator, mix, named};
use crate::table::{Table, unknown_field};
use smalti_contract::{Numbers, Value};

/// The splits, in the order of the rows.
pub(super) const SPLITS: [&str; 3] = ["train", "validation", "test"];
/// The field of the split, the last.
const SPLIT: &str = "split";
/// How often a row is drawn, for each split of equal size, until its settings count as allowing none.
const MAX_DRAWS: u64 = 1000;
const TOO_FEW: &str = "fewer rows, or other settings: these allow too few different rows";
/// Separates the digests that assign rows to splits from other uses of a seed.
const DIGEST: u64 = 0x7370_6c69_7473;

/// A table of generated rows: those of `train`, then those of `validation`, then those of `test`.
pub struct SyntheticTable {
    name: String,
    fields: Vec<String>,
    sizes: Sizes,
    rows: Box<dyn Rows>,
}

impl SyntheticTable {
    /// # Errors
    /// [`SyntheticError::Settings`] if the settings allow fewer different rows.
    pub(super) fn new(
        name: String,
        kind: &Entry,
        sizes: Sizes,
        rows: Box<dyn Rows>,
    ) -> Result<Self, SyntheticError> {
        let fields = kind.fields.iter().copied().chain([SPLIT]).map(String::from).collect();
        let table = Self { name, fields, sizes, rows };
        let n_rows = table.len() as u64;
        let refuse =
            |expected: String| Err(setting(kind.name, "train + validation + test", expected, n_rows));
        if n_rows == 0 {
            return refuse("1 row or more".into());
        }
        if let Distinct::Numbered(different) = table.rows.distinct()
            && different < n_rows
        {
            return refuse(format!("at most {different}, the number of different rows with these settings"));
        }
        // The first row of each split shows whether there are such rows at all.
        let mut first = 0;
        for size in table.split_sizes() {
            if size > 0 && table.row(first).is_none() {
                return refuse(TOO_FEW.into());
            }
            first += size;
        }
        Ok(table)
    }

    fn split_sizes(&self) -> [usize; 3] {
        [self.sizes.train, self.sizes.validation, self.sizes.test]
    }

    /// The number of the split of a row.
    fn split(&self, row: usize) -> usize {
        let Sizes { train, validation, .. } = self.sizes;
        usize::from(row >= train) + usize::from(row >= train + validation)
    }

    /// The values of a row; `None` if it was drawn too often.
    fn row(&self, row: usize) -> Option<Vec<Value>> {
        let (seed, split) = (self.sizes.seed, self.split(row));
        let generator = generator(mix(seed, row as u64));
        let mut draw = Draw { number: row as u64, split, generator };
        let mut draws = MAX_DRAWS;
        match self.rows.distinct() {
            Distinct::Numbered(different) => draw.number = Permutation::new(seed, different).at(row as u64),
            Distinct::ByDraw => {}
            // A share of all rows belongs to a split.
            Distinct::ByFirstField => draws *= (self.len() / self.split_sizes()[split].max(1)) as u64 + 1,
        }
        (0..draws).find_map(|_| self.rows.row(&mut draw).filter(|values| self.belongs(values, split)))
    }

    /// Whether a row belongs to a split. The digests of the splits are stretches, as long as the splits are large.
    fn belongs(&self, values: &[Value], split: usize) -> bool {
        if self.rows.distinct() != Distinct::ByFirstField {
            return true;
        }
        let digest = values.first().map_or(0, digest);
        let place = (u128::from(digest) * self.len() as u128) >> u64::BITS;
        self.split(place as usize) == split
    }
}

/// A digest of a text or of pixels.
fn digest(value: &Value) -> u64 {
    match value {
        Value::Text(text) => named(DIGEST, text),
        Value::Array(array) => match &array.numbers {
            Numbers::U8(bytes) => bytes.iter().fold(DIGEST, |hash, byte| mix(hash, u64::from(*byte))),
            Numbers::F32(numbers) => {
                numbers.iter().fold(DIGEST, |hash, number| mix(hash, u64::from(number.to_bits())))
            }
        },
        _ => 0,
    }
}

impl Table for SyntheticTable {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.split_sizes().iter().sum()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        if row >= self.len() {
            return Err(DataError::layout(&self.name, format!("no row {row}; there are {}", self.len())));
        }
        if field == SPLIT {
            return Ok(SPLITS[self.split(row)].into());
        }
        let place = self.fields.iter().position(|name| name == field);
        let place = place.ok_or_else(|| unknown_field(self, field))?;
        let values = self.row(row).ok_or_else(|| DataError::layout(&self.location(row), TOO_FEW))?;
        Ok(values.into_iter().nth(place).unwrap_or_default())
    }

    fn steps(&self, _row: usize) -> usize {
        self.rows.steps()
    }
}
