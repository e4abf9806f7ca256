//! Columns of images: `{bytes, path}` for each step, as Hugging Face's `datasets` and so LeRobot write them, or the
//! bytes alone.

use super::pages::Budget;
use crate::Images;
use crate::table::Column;
use ::parquet::basic::{ConvertedType, Type};
use ::parquet::column::reader::ColumnReader;
use ::parquet::schema::types::ColumnDescriptor;
use bytes::Bytes;

/// Rows that are decoded at once: images are large.
const BATCH: usize = 64;

/// The images of one camera, as far as they are read.
pub(super) struct Shots {
    name: String,
    /// An image file's content for each row, where the column has such.
    contents: Vec<Option<Bytes>>,
    /// Where an image file lies for each row, where the column has such.
    paths: Vec<Option<Bytes>>,
}

/// What a column says of an image.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Content,
    Path,
}

impl Field {
    /// What this column says of an image, and the image's column; `None` for one of something else.
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
        // Text that is no path is no image.
        match parent("bytes") {
            _ if descriptor.converted_type() != ConvertedType::NONE => None,
            image => Some((Self::Content, image.unwrap_or(name).into())),
        }
    }
}

impl Shots {
    /// Those of the column `name`, which are put behind the others where they are new.
    pub(super) fn among(all: &mut Vec<Self>, name: String) -> &mut Self {
        let at = all.iter().position(|shots| shots.name == name).unwrap_or(all.len());
        if at == all.len() {
            all.push(Self { name, contents: vec![], paths: vec![] });
        }
        &mut all[at]
    }

    /// Reads a field of a row group.
    pub(super) fn read(
        &mut self,
        field: Field,
        reader: ColumnReader,
        rows: usize,
        budget: &mut Budget,
    ) -> Result<(), String> {
        let ColumnReader::ByteArrayColumnReader(mut reader) = reader else {
            return Err("holds no bytes".into());
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
                return Err(format!("ends {left} rows before the others"));
            }
            budget.copy(values.iter().map(|value| value.len() as u64).sum())?;
            let there = values.iter().map(|value| Bytes::copy_from_slice(value.data()));
            // Where all rows must have one, there are no levels.
            match values.len() == read {
                true => all.extend(there.map(Some)),
                false => {
                    let most = levels.iter().max().copied();
                    let mut there = there;
                    all.extend(
                        levels.iter().map(|&level| if Some(level) == most { there.next() } else { None }),
                    );
                }
            }
            left -= read;
        }
        Ok(())
    }

    /// The column of these images.
    ///
    /// # Errors
    /// Names a row without one.
    pub(super) fn column(self) -> Result<Column, String> {
        let Self { name, contents, paths } = self;
        let embedded = contents.iter().any(|content| content.as_ref().is_some_and(|bytes| !bytes.is_empty()));
        let found = if embedded { contents } else { paths };
        let missing = |row: usize| {
            let expected = if embedded { "bytes, as others have" } else { "bytes or a path" };
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
