//! The shards of a conversion: which rows are in which file.

use super::files::DATA;
use super::{Format, Options, SPLIT, ShardSize};
use crate::data::DataError;
use crate::data::files::canonical_split;
use crate::table::{Table, unknown_field};
use indexmap::IndexMap;

/// A shard: its path in the folder of the conversion, and its rows.
pub(super) struct Shard {
    pub path: String,
    pub rows: Vec<u32>,
}

/// Bytes that are encoded at a time.
const BYTES_TOGETHER: u64 = 64 << 20;
/// Rows that are encoded at a time.
const ROWS_TOGETHER: u64 = 256;

/// Numbers of rows.
pub(super) struct Size {
    /// Rows in a shard.
    pub rows: usize,
    /// Rows that are encoded at a time.
    pub rows_together: usize,
}

impl Size {
    /// The size of shards of rows of this mean size in bytes.
    pub fn of(options: &Options, is_file: bool, mean: u64) -> Self {
        let rows = match options.shard_size {
            _ if is_file => usize::MAX,
            ShardSize::Rows(rows) => rows.max(1),
            ShardSize::Bytes(bytes) => usize::try_from(bytes / mean.max(1)).unwrap_or(usize::MAX).max(1),
        };
        let rows_together = (BYTES_TOGETHER / mean.max(1)).clamp(1, ROWS_TOGETHER) as usize;
        Self { rows, rows_together }
    }
}

/// The rows of each split, or of the wanted one, in the order of the table; `together` as one group.
///
/// # Errors
/// [`DataError`] for a table without rows, and for a split that it does not have.
pub(super) fn groups(
    table: &dyn Table,
    wanted: Option<&str>,
    together: bool,
) -> Result<IndexMap<String, Vec<u32>>, DataError> {
    if table.is_empty() {
        return Err(DataError::Empty { location: table.name().into(), expected: "rows" });
    }
    let has_splits = table.fields().iter().any(|field| field == SPLIT);
    if wanted.is_some() && !has_splits {
        return Err(unknown_field(table, SPLIT));
    }
    let (mut groups, mut known): (IndexMap<String, Vec<u32>>, Vec<String>) = Default::default();
    for row in 0..table.len() {
        let split = match has_splits {
            true => canonical_split(&table.peek(row, SPLIT)?.into_label().unwrap_or_default()).to_string(),
            // The name that `datasets` gives to rows of no split.
            false => "train".into(),
        };
        if wanted.is_none_or(|wanted| canonical_split(wanted) == split) {
            let name = if together { String::new() } else { file_name(&split) };
            groups.entry(name).or_default().push(row as u32);
        } else if !known.contains(&split) {
            known.push(split);
        }
    }
    match (groups.is_empty(), wanted) {
        (true, Some(name)) => Err(DataError::Unknown {
            location: table.name().into(),
            what: SPLIT,
            name: name.into(),
            known: smalti_contract::listed(known, ", "),
        }),
        _ => Ok(groups),
    }
}

/// A split as the start of a file's name: letters, digits and `_`, as `datasets` requires.
fn file_name(split: &str) -> String {
    split.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

/// The shards of these groups, each of `rows` rows but the last of a group.
pub(super) fn plan(groups: IndexMap<String, Vec<u32>>, rows: usize, format: Format) -> Vec<Shard> {
    let mut shards = vec![];
    for (split, of_split) in groups {
        let start = if split.is_empty() { split } else { format!("{split}-") };
        let all = of_split.len().div_ceil(rows);
        for (number, rows) in of_split.chunks(rows).enumerate() {
            let path = match format {
                Format::Webdataset => format!("{start}{number:06}.tar"),
                Format::Parquet => format!("{DATA}/{start}{number:05}-of-{all:05}.parquet"),
            };
            shards.push(Shard { path, rows: rows.to_vec() });
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;
    use smalti_contract::{Row, Value};

    #[test]
    fn shards_are_ranges_of_the_rows_of_a_split() {
        let groups = || IndexMap::from([("train".to_string(), vec![0, 1, 4]), (String::new(), vec![2, 3])]);
        let shown = |format| {
            let shards = plan(groups(), 2, format);
            shards.into_iter().map(|shard| format!("{} {:?}", shard.path, shard.rows)).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(Format::Webdataset),
            ["train-000000.tar [0, 1]", "train-000001.tar [4]", "000000.tar [2, 3]"]
        );
        assert_eq!(
            shown(Format::Parquet),
            [
                "data/train-00000-of-00002.parquet [0, 1]",
                "data/train-00001-of-00002.parquet [4]",
                "data/00000-of-00001.parquet [2, 3]"
            ]
        );
    }

    #[test]
    fn splits_are_named_in_the_usual_spelling() {
        let row = |split: &str| Row { fields: [(SPLIT.to_string(), Value::Text(split.into()))].into() };
        let table = MemoryTable::new("rows", ["TRAIN", "valid", "train", "fold1"].map(row).to_vec());
        let named = |wanted| groups(&table, wanted, false).unwrap().into_iter().collect::<Vec<_>>();
        let of = |name: &str, rows: &[u32]| (name.to_string(), rows.to_vec());
        assert_eq!(named(None), [of("train", &[0, 2]), of("validation", &[1]), of("fold1", &[3])]);
        assert_eq!(named(Some("val")), [of("validation", &[1])]);
        assert!(groups(&table, Some("fold2"), false).is_err());
        assert_eq!(file_name("fold-1.b/x"), "fold_1_b_x");
    }
}
