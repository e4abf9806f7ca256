//! The numbers of one column.

use crate::Images;
use crate::table::Column;
use ::parquet::basic::{ConvertedType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::schema::types::ColumnDescriptor;

/// The number of rows that are decoded at once.
const BATCH: usize = 1024;

/// Consecutive rows of a column.
struct Batch<'a> {
    rows: usize,
    /// The definition level of each entry; empty if none can be missing.
    present: &'a [i16],
    /// The repetition level of each entry, which is 0 at the start of a row; empty without lists.
    levels: &'a [i16],
    /// The numbers that are present.
    numbers: &'a [f64],
}

/// Read the column of a row group in batches.
fn batches(
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
    let (mut present, mut levels, mut values, mut numbers) = (vec![], vec![], vec![], vec![]);
    let mut left = rows;
    while left > 0 {
        present.clear();
        levels.clear();
        values.clear();
        numbers.clear();
        let batch = BATCH.min(left);
        let read = reader.read_records(batch, Some(&mut present), Some(&mut levels), &mut values);
        let (rows, ..) = read.map_err(|e| e.to_string())?;
        if rows == 0 {
            return Err(format!("{left} rows are missing at its end"));
        }
        numbers.extend(values.iter().map(number));
        each(Batch { rows, present: &present, levels: &levels, numbers: &numbers })?;
        left -= rows.min(left);
    }
    Ok(())
}

/// A column's numbers over all row groups: lists of the same lengths at each step.
pub(super) struct Leaf {
    values: Vec<f64>,
    /// The number of steps of each row.
    steps: Vec<usize>,
    /// The repetition levels of a step's numbers after its first one, which are those of the first step.
    levels: Vec<i16>,
    /// Whether the first step has been read.
    known: bool,
    /// The count of numbers of the current step so far, and whether their levels differ from those of the first step.
    found: usize,
    differs: bool,
    /// The definition level of a number that is present.
    present: i16,
    /// The largest repetition level of a number that begins a step: 0 if a row is a step, 1 if it is a list of steps.
    begin: i16,
    /// The depth of lists.
    depth: i16,
    whole: bool,
    byte: bool,
}

impl Leaf {
    /// A column of rows that are steps, or of rows that are episodes.
    pub(super) fn new(descriptor: &ColumnDescriptor, episodes: bool) -> Self {
        let depth = descriptor.max_rep_level();
        Self {
            values: vec![],
            steps: vec![],
            levels: vec![],
            known: false,
            found: 0,
            differs: false,
            present: descriptor.max_def_level(),
            begin: i16::from(episodes && depth > 0),
            depth,
            whole: matches!(descriptor.physical_type(), Type::INT32 | Type::INT64 | Type::BOOLEAN),
            byte: descriptor.converted_type() == ConvertedType::UINT_8,
        }
    }

    /// Read the column of a row group.
    pub(super) fn read(&mut self, reader: ColumnReader, rows: usize) -> Result<(), String> {
        batches(reader, rows, &mut |batch| {
            let entries = if self.depth > 0 { batch.levels.len() } else { batch.rows };
            for entry in 0..entries {
                let level = batch.levels.get(entry).copied().unwrap_or(0);
                let present = batch.present.get(entry).is_none_or(|&present| present >= self.present);
                self.add(level, present)?;
            }
            self.values.extend_from_slice(batch.numbers);
            Ok(())
        })?;
        self.close()
    }

    /// Add an entry: a number of a step, or an empty list.
    fn add(&mut self, level: i16, present: bool) -> Result<(), String> {
        if level <= self.begin {
            self.close()?;
        }
        if level == 0 {
            self.steps.push(0);
        }
        let row = self.steps.len().saturating_sub(1);
        let Some(steps) = self.steps.last_mut() else {
            return Err("its first row has no beginning".into());
        };
        if !present {
            // A row that is a list of steps may have none.
            return match level < self.begin {
                true => Ok(()),
                false => Err(format!("a number is missing in row {row}")),
            };
        }
        match self.found.checked_sub(1) {
            None => *steps += 1,
            Some(_) if !self.known => self.levels.push(level),
            Some(before) => self.differs |= self.levels.get(before) != Some(&level),
        }
        self.found += 1;
        Ok(())
    }

    /// Check the numbers of a step, at its end.
    fn close(&mut self) -> Result<(), String> {
        let (found, differs) = (std::mem::take(&mut self.found), std::mem::take(&mut self.differs));
        if found == 0 {
            return Ok(());
        }
        self.known = true;
        let (dim, row) = (self.dim(), self.steps.len().saturating_sub(1));
        if found != dim {
            return Err(format!("row {row}: expected steps of {dim} numbers, as the first; found {found}"));
        }
        match differs {
            true => Err(format!("row {row}: expected steps with lists of the same lengths as the first")),
            false => Ok(()),
        }
    }

    /// The count of numbers of a step; 0 without steps.
    fn dim(&self) -> usize {
        if self.known { self.levels.len() + 1 } else { 0 }
    }

    /// The lengths of the lists of a step, the outermost first; `None` if lists of one depth have different lengths.
    fn shape(&self) -> Option<Vec<usize>> {
        // The repetition level of each axis, and the count of numbers of its elements.
        let (mut shape, mut axes, mut unit) = (vec![], vec![], 1);
        for axis in (self.begin + 1..=self.depth).rev() {
            let mut length = 1;
            while self.levels.get(length * unit - 1) == Some(&axis) {
                length += 1;
            }
            shape.insert(0, length);
            axes.insert(0, (axis, unit));
            unit *= length;
        }
        let level = |number: usize| axes.iter().find(|(_, unit)| number.is_multiple_of(*unit));
        let regular =
            |(number, found): (usize, &i16)| level(number + 1).is_some_and(|(axis, _)| axis == found);
        (unit == self.dim() && self.levels.iter().enumerate().all(regular)).then_some(shape)
    }

    /// Convert to a column with the number of steps of each row. Bytes in lists of lists are images, and so are numbers in
    /// lists of one more depth.
    ///
    /// # Errors
    /// If images are not of one size, or numbers are not pixels.
    pub(super) fn column(self, name: String, elements: &[String]) -> Result<(Column, Vec<usize>), String> {
        let (dim, axes) = (self.dim(), self.depth - self.begin);
        let of_images = if self.byte { 2 } else { 3 };
        if self.known && axes >= of_images {
            let lengths = self.shape().ok_or("expected images, lists of the same lengths")?;
            let shape: Vec<usize> =
                std::iter::once(self.steps.iter().sum::<usize>()).chain(lengths).collect();
            let images = Images::of_numbers(&shape, &self.values, self.whole)?;
            return Ok((Column::of_images(name, images), self.steps));
        }
        let elements = if elements.len() == dim { elements.to_vec() } else { vec![] };
        let column = Column { dim, whole: self.whole, elements, values: self.values, name, images: None };
        Ok((column, self.steps))
    }
}
