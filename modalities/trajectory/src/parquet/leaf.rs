//! The numbers of one column.

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::schema::types::ColumnDescriptor;

/// The number of rows that are decoded at once.
const BATCH: usize = 1024;

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
        match reader {
            ColumnReader::BoolColumnReader(reader) => {
                self.numbers(reader, rows, |&value| f64::from(u8::from(value)))
            }
            ColumnReader::Int32ColumnReader(reader) => self.numbers(reader, rows, |&value| f64::from(value)),
            ColumnReader::Int64ColumnReader(reader) => self.numbers(reader, rows, |&value| value as f64),
            ColumnReader::FloatColumnReader(reader) => self.numbers(reader, rows, |&value| f64::from(value)),
            ColumnReader::DoubleColumnReader(reader) => self.numbers(reader, rows, |&value| value),
            _ => Err("expected a column of numbers".into()),
        }
    }

    fn numbers<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        rows: usize,
        number: fn(&T::T) -> f64,
    ) -> Result<(), String> {
        let end = self.rows.checked_add(rows).ok_or("the number of rows overflows")?;
        let (mut levels, mut begins, mut values) = (vec![], vec![], vec![]);
        while self.rows < end {
            levels.clear();
            begins.clear();
            values.clear();
            let batch = BATCH.min(end - self.rows);
            let (read, ..) = reader
                .read_records(batch, Some(&mut levels), Some(&mut begins), &mut values)
                .map_err(|e| e.to_string())?;
            if read == 0 {
                return Err(format!("expected {end} rows; found {}", self.rows));
            }
            if levels.iter().any(|&level| level < self.present) {
                let rows = self.rows..self.rows + read;
                return Err(format!("a number is missing in rows {} to {}", rows.start, rows.end - 1));
            }
            if self.listed {
                self.check_widths(&begins)?;
            }
            self.values.extend(values.iter().map(number));
            self.rows += read;
        }
        Ok(())
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
