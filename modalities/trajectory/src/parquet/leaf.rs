//! The numbers of one column.

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::schema::types::ColumnDescriptor;

/// The number of rows that are decoded at once.
const BATCH: usize = 1024;

/// Consecutive rows of a column.
pub(super) struct Batch<'a> {
    pub(super) rows: usize,
    /// The definition level of each entry; empty if none can be missing.
    pub(super) levels: &'a [i16],
    /// The repetition level of each entry, which is 0 at the start of a row; empty without lists.
    pub(super) begins: &'a [i16],
    /// The numbers that are present.
    pub(super) numbers: &'a [f64],
}

/// Read the column of a row group in batches.
///
/// # Errors
/// If rows are missing or corrupt, or the column has no numbers, and the errors of `each`.
pub(super) fn batches(
    reader: ColumnReader,
    rows: usize,
    each: &mut dyn FnMut(Batch) -> Result<(), String>,
) -> Result<(), String> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            of_type(reader, rows, |&value| f64::from(u8::from(value)), each)
        }
        ColumnReader::Int32ColumnReader(reader) => of_type(reader, rows, |&value| f64::from(value), each),
        ColumnReader::Int64ColumnReader(reader) => of_type(reader, rows, |&value| value as f64, each),
        ColumnReader::FloatColumnReader(reader) => of_type(reader, rows, |&value| f64::from(value), each),
        ColumnReader::DoubleColumnReader(reader) => of_type(reader, rows, |&value| value, each),
        _ => Err("expected a column of numbers".into()),
    }
}

fn of_type<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    number: fn(&T::T) -> f64,
    each: &mut dyn FnMut(Batch) -> Result<(), String>,
) -> Result<(), String> {
    let (mut levels, mut begins, mut values, mut numbers) = (vec![], vec![], vec![], vec![]);
    let mut left = rows;
    while left > 0 {
        levels.clear();
        begins.clear();
        values.clear();
        numbers.clear();
        let batch = BATCH.min(left);
        let read = reader.read_records(batch, Some(&mut levels), Some(&mut begins), &mut values);
        let (rows, ..) = read.map_err(|e| e.to_string())?;
        if rows == 0 {
            return Err(format!("{left} rows are missing at its end"));
        }
        numbers.extend(values.iter().map(number));
        each(Batch { rows, levels: &levels, begins: &begins, numbers: &numbers })?;
        left -= rows.min(left);
    }
    Ok(())
}

/// A column's numbers over all row groups, with the same count in each row.
pub(super) struct Leaf {
    pub(super) values: Vec<f64>,
    rows: usize,
    /// The count of numbers in a row, once known.
    dim: Option<usize>,
    /// The definition level of a number that is present.
    present: i16,
    listed: bool,
}

impl Leaf {
    pub(super) fn new(descriptor: &ColumnDescriptor) -> Self {
        let listed = descriptor.max_rep_level() > 0;
        let dim = (!listed).then_some(1);
        Self { values: vec![], rows: 0, dim, present: descriptor.max_def_level(), listed }
    }

    pub(super) fn dim(&self) -> usize {
        self.dim.unwrap_or(0)
    }

    /// Read the column of a row group.
    pub(super) fn read(&mut self, reader: ColumnReader, rows: usize) -> Result<(), String> {
        batches(reader, rows, &mut |batch| {
            if batch.levels.iter().any(|&level| level < self.present) {
                let (first, last) = (self.rows, self.rows + batch.rows - 1);
                return Err(format!("a number is missing in rows {first} to {last}"));
            }
            if self.listed {
                self.check_widths(batch.begins)?;
            }
            self.values.extend_from_slice(batch.numbers);
            self.rows += batch.rows;
            Ok(())
        })
    }

    /// Check that all rows of a batch have the same width. A repetition level of 0 begins a row.
    fn check_widths(&mut self, begins: &[i16]) -> Result<(), String> {
        for (row, numbers) in begins[1.min(begins.len())..].split(|&level| level == 0).enumerate() {
            // The level that begins the row was split off.
            let found = numbers.len() + 1;
            let dim = *self.dim.get_or_insert(found);
            if found != dim {
                return Err(format!(
                    "row {}: expected {dim} numbers, as in row 0; found {found}",
                    self.rows + row
                ));
            }
        }
        Ok(())
    }
}
