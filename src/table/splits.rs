//! The splits that a table names.

use super::Table;
use super::select::label;
use crate::data::DataError;
use crate::data::files::split_word;

/// The field that names the split of each row.
const SPLIT: &str = "split";

/// The rows of a table by the split that its field `split` names, ascending.
#[derive(Debug, Default, PartialEq)]
pub struct Splits {
    /// The rows of the split `train`; without one, the rows of no split.
    pub train: Vec<u32>,
    /// The rows of the split `validation`.
    pub validation: Vec<u32>,
    /// The rows of the split `test`.
    pub test: Vec<u32>,
}

/// The splits of a table, in any spelling (`valid`, `dev`); all empty without a field `split`.
///
/// # Errors
/// [`DataError`] if a value of the field is neither a text nor a number.
pub fn splits(table: &dyn Table) -> Result<Splits, DataError> {
    let mut splits = Splits::default();
    if !table.fields().iter().any(|field| field == SPLIT) {
        return Ok(splits);
    }
    let mut rest = vec![];
    for row in 0..table.len() {
        let rows = match split_word(&label(table, row, SPLIT)?) {
            Some("train") => &mut splits.train,
            Some("validation") => &mut splits.validation,
            Some("test") => &mut splits.test,
            _ => &mut rest,
        };
        rows.push(row as u32);
    }
    if splits.train.is_empty() {
        splits.train = rest;
    }
    Ok(splits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;
    use smalti_contract::{Row, Value};

    fn of(names: &[&str]) -> Splits {
        let row = |name: &&str| Row { fields: [(SPLIT.to_string(), Value::Text((*name).into()))].into() };
        splits(&MemoryTable::new("rows", names.iter().map(row).collect())).unwrap()
    }

    #[test]
    fn splits_are_found_in_any_spelling() {
        let found = of(&["Training", "dev", "test", "extra", "train", "val"]);
        assert_eq!((found.train, found.validation, found.test), (vec![0, 4], vec![1, 5], vec![2]));
        let found = of(&["a", "test", ""]);
        assert_eq!((found.train, found.validation, found.test), (vec![0, 2], vec![], vec![1]));
        let other = Row { fields: [("label".to_string(), Value::Number(1.0))].into() };
        assert_eq!(splits(&MemoryTable::new("rows", vec![other])).unwrap(), Splits::default());
    }
}
