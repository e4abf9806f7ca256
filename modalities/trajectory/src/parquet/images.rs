//! Columns of images: `{bytes, path}` for each step, as written by Hugging Face's `datasets` and LeRobot, or only
//! bytes; lists of them if rows are episodes.

use super::pages::Budget;
use crate::Images;
use crate::table::Column;
use ::parquet::basic::{ConvertedType, Type};
use ::parquet::column::reader::ColumnReader;
use ::parquet::schema::types::ColumnDescriptor;
use bytes::Bytes;

/// The number of rows that are decoded at once; small, because images are large.
const BATCH: usize = 64;

/// The images of one camera that have been read so far.
pub(super) struct ImageColumn {
    name: String,
    /// The contents of image files, if the column has them.
    contents: Values,
    /// The paths of image files, if the column has them.
    paths: Values,
}

/// The values of one field.
#[derive(Default)]
struct Values {
    /// The value of each step.
    steps: Vec<Option<Bytes>>,
    /// The number of steps of each row.
    rows: Vec<usize>,
}

/// The field of an image that a column stores.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Content,
    Path,
}

impl Field {
    /// The field that this column stores, and the name of the image's column; `None` for other columns. In rows that are
    /// episodes, it is a list.
    pub(super) fn of(descriptor: &ColumnDescriptor, name: &str, episodes: bool) -> Option<(Self, String)> {
        let depth = i16::from(episodes);
        if descriptor.max_rep_level() != depth || descriptor.physical_type() != Type::BYTE_ARRAY {
            return None;
        }
        let parent = |field: &str| match descriptor.path().parts() {
            [_, .., last] if last == field => name.strip_suffix(field)?.strip_suffix('.'),
            _ => None,
        };
        if let Some(image) = parent("path") {
            return Some((Self::Path, image.into()));
        }
        // Text that is not a path is not an image.
        match parent("bytes") {
            _ if descriptor.converted_type() != ConvertedType::NONE => None,
            image => Some((Self::Content, image.unwrap_or(name).into())),
        }
    }
}

impl ImageColumn {
    /// Find the images of the column `name`, or append a new one.
    pub(super) fn find_or_add(all: &mut Vec<Self>, name: String) -> &mut Self {
        let at = all.iter().position(|column| column.name == name).unwrap_or(all.len());
        if at == all.len() {
            all.push(Self { name, contents: Values::default(), paths: Values::default() });
        }
        &mut all[at]
    }

    /// Read a field of a row group.
    pub(super) fn read(
        &mut self,
        field: Field,
        descriptor: &ColumnDescriptor,
        reader: ColumnReader,
        rows: usize,
        budget: &mut Budget,
    ) -> Result<(), String> {
        let ColumnReader::ByteArrayColumnReader(mut reader) = reader else {
            return Err("expected a column of bytes".into());
        };
        let all = match field {
            Field::Content => &mut self.contents,
            Field::Path => &mut self.paths,
        };
        let (mut left, mut present, mut levels, mut values) = (rows, vec![], vec![], vec![]);
        while left > 0 {
            present.clear();
            levels.clear();
            values.clear();
            let batch = BATCH.min(left);
            let read = reader.read_records(batch, Some(&mut present), Some(&mut levels), &mut values);
            let (read, ..) = read.map_err(|e| e.to_string())?;
            if read == 0 {
                return Err(format!("{left} rows are missing at its end"));
            }
            budget.copy(values.iter().map(|value| value.len() as u64).sum())?;
            let mut values = values.iter().map(|value| Bytes::copy_from_slice(value.data()));
            let entries = if descriptor.max_rep_level() > 0 { levels.len() } else { read };
            for entry in 0..entries {
                // If nothing can be missing, present are no levels.
                let present = present.get(entry).copied().unwrap_or(descriptor.max_def_level());
                if levels.get(entry).copied().unwrap_or(0) == 0 {
                    all.rows.push(0);
                }
                // Below this level, a list is empty.
                if let Some(steps) =
                    all.rows.last_mut().filter(|_| present >= descriptor.repeated_ancestor_def_level())
                {
                    *steps += 1;
                    let value = (present == descriptor.max_def_level()).then(|| values.next());
                    all.steps.push(value.flatten());
                }
            }
            left -= read.min(left);
        }
        Ok(())
    }

    /// Convert to a column with the number of steps of each row.
    ///
    /// # Errors
    /// If a step has no image.
    pub(super) fn column(self) -> Result<(Column, Vec<usize>), String> {
        let Self { name, contents, paths } = self;
        let has_bytes = |content: &Option<Bytes>| content.as_ref().is_some_and(|bytes| !bytes.is_empty());
        let embedded = contents.steps.iter().any(has_bytes);
        let Values { steps: found, rows } = if embedded { contents } else { paths };
        let step = if rows.iter().all(|steps| *steps == 1) { "row" } else { "step" };
        let missing = |number: usize| {
            let expected = match embedded {
                true => format!("bytes, as other {step}s have"),
                false => "bytes or a path".into(),
            };
            format!("{name}: no image in {step} {number}; it must have {expected}")
        };
        if found.is_empty() {
            return Err(missing(0));
        }
        let whole = |(number, one): (usize, Option<Bytes>)| {
            one.filter(|bytes| !bytes.is_empty()).ok_or_else(|| missing(number))
        };
        let found: Vec<Bytes> = found.into_iter().enumerate().map(whole).collect::<Result<_, _>>()?;
        let images = match embedded {
            true => Images::Encoded(found),
            false => {
                let path = |bytes: &Bytes| String::from_utf8(bytes.to_vec());
                let paths = found.iter().map(path).collect::<Result<_, _>>();
                Images::Files(paths.map_err(|_| format!("{name}: a path is not valid UTF-8"))?)
            }
        };
        Ok((Column::of_images(name, images), rows))
    }
}
