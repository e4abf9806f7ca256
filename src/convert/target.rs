//! The format of the shards: rows are encoded on any thread, and written in order.

use super::field::Field;
use super::members::{self, Member, Members};
use super::parquet::{self, Columns};
use super::{ConvertError, Format};
use indexmap::IndexSet;
use smalti_contract::Value;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// How rows are encoded.
pub(super) enum Target {
    Webdataset(Members),
    Parquet(Box<Columns>),
}

/// A row as it is written.
pub(super) enum Encoded {
    /// The endings and bytes of the members of a tar archive.
    Members(Vec<Member>),
    /// The values of all fields.
    Values(Vec<Value>),
}

/// A shard that is being written.
pub(super) enum Writer<'a> {
    Webdataset(tar::Builder<BufWriter<&'a File>>),
    Parquet(Box<parquet::Groups<'a>>),
}

impl Target {
    /// The format of these fields.
    ///
    /// # Errors
    /// [`ConvertError::Field`] for a field that the format cannot hold.
    pub fn new(format: Format, fields: &[Field]) -> Result<Self, ConvertError> {
        Ok(match format {
            Format::Webdataset => Self::Webdataset(Members::new(fields)?),
            Format::Parquet => Self::Parquet(Box::new(Columns::new(fields)?)),
        })
    }

    /// The names of the classes that are written beside the shards.
    pub fn classes(&self, fields: &[Field]) -> Option<IndexSet<String>> {
        match self {
            Self::Webdataset(members) => members.classes(fields).cloned(),
            Self::Parquet(_) => None,
        }
    }

    /// The place of a field in the shards.
    pub fn place(&self, at: usize, field: &Field) -> String {
        match self {
            Self::Webdataset(members) => members.place(at, field),
            Self::Parquet(_) => format!("{}: {}", field.name, parquet::data_type(&field.kind)),
        }
    }

    /// Encodes the values of a row.
    ///
    /// # Errors
    /// The number of the field that cannot be encoded, and the reason.
    pub fn encode(&self, fields: &[Field], values: Vec<Value>) -> Result<Encoded, (usize, String)> {
        match self {
            Self::Webdataset(members) => members.encode(fields, values).map(Encoded::Members),
            Self::Parquet(_) => parquet::check(&values).map(|()| Encoded::Values(values)),
        }
    }

    /// Begins a shard.
    pub fn begin<'a>(&self, file: &'a File) -> io::Result<Writer<'a>> {
        Ok(match self {
            Self::Webdataset(_) => {
                Writer::Webdataset(tar::Builder::new(BufWriter::with_capacity(1 << 20, file)))
            }
            Self::Parquet(columns) => Writer::Parquet(Box::new(columns.begin(file)?)),
        })
    }
}

impl Encoded {
    /// Its size in a shard, in bytes, before compression.
    pub fn size(&self) -> u64 {
        match self {
            Self::Members(members) => members.iter().map(|(_, bytes)| members::size(bytes)).sum(),
            Self::Values(values) => values.iter().map(parquet::size).sum(),
        }
    }
}

impl Writer<'_> {
    /// Writes the next row, the row of this number in the table.
    pub fn push(&mut self, row: u32, encoded: Encoded) -> io::Result<()> {
        match (self, encoded) {
            (Self::Webdataset(tar), Encoded::Members(row_members)) => members::append(tar, row, row_members),
            (Self::Parquet(groups), Encoded::Values(values)) => groups.push(values),
            _ => Err(io::Error::other("the row is encoded for another format")),
        }
    }

    /// Ends the shard.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Webdataset(tar) => tar.into_inner()?.flush(),
            Self::Parquet(groups) => groups.finish(),
        }
    }
}
