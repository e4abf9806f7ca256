//! Columns of images: `{bytes, path}` for each step, as written by Hugging Face's `datasets` and LeRobot, or only
//! bytes.

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
    /// An image file's content for each row, if the column has it.
    contents: Vec<Option<Bytes>>,
    /// An image file's path for each row, if the column has it.
    paths: Vec<Option<Bytes>>,
}

/// The field of an image that a column stores.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Content,
    Path,
}

impl Field {
    /// The field that this column stores, and the name of the image's column; `None` for other columns.
    pub(super) fn of(descriptor: &ColumnDescriptor, name: &str) -> Option<(Self, String)> {
        if descriptor.max_rep_level() > 0 || descriptor.physical_type() != Type::BYTE_ARRAY {
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
            all.push(Self { name, contents: vec![], paths: vec![] });
        }
        &mut all[at]
    }

    /// Read a field of a row group.
    pub(super) fn read(
        &mut self,
        field: Field,
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
        let (mut left, mut levels, mut values) = (rows, vec![], vec![]);
        while left > 0 {
            levels.clear();
            values.clear();
            let batch = reader.read_records(BATCH.min(left), Some(&mut levels), None, &mut values);
            let (read, ..) = batch.map_err(|e| e.to_string())?;
            if read == 0 {
                return Err(format!("{left} rows are missing at its end"));
            }
            budget.copy(values.iter().map(|value| value.len() as u64).sum())?;
            let present = values.iter().map(|value| Bytes::copy_from_slice(value.data()));
            // If the column is required, present are no levels.
            match values.len() == read {
                true => all.extend(present.map(Some)),
                false => {
                    let most = levels.iter().max().copied();
                    let mut present = present;
                    all.extend(
                        levels.iter().map(|&level| if Some(level) == most { present.next() } else { None }),
                    );
                }
            }
            left -= read;
        }
        Ok(())
    }

    /// Convert to a column.
    ///
    /// # Errors
    /// If a row has no image.
    pub(super) fn column(self) -> Result<Column, String> {
        let Self { name, contents, paths } = self;
        let embedded = contents.iter().any(|content| content.as_ref().is_some_and(|bytes| !bytes.is_empty()));
        let found = if embedded { contents } else { paths };
        let missing = |row: usize| {
            let expected = if embedded { "bytes, as other rows have" } else { "bytes or a path" };
            format!("{name}: no image in row {row}; it must have {expected}")
        };
        if found.is_empty() {
            return Err(missing(0));
        }
        let whole = |(row, one): (usize, Option<Bytes>)| {
            one.filter(|bytes| !bytes.is_empty()).ok_or_else(|| missing(row))
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
        Ok(Column::of_images(name, images))
    }
}
