//! Opening data of any layout, or a single file, as a table.

use crate::data::{self, DataError};
use crate::table::{Detected, MemoryTable, Modality, Source, SourceRegistry, is_unread};
use smalti_contract::{File, Row, Value};
use std::sync::Arc;

/// The table of a source, and its layout. A file of no layout, such as an image, is one row with a field named after its
/// modality, unless the source names a layout.
///
/// # Errors
/// [`DataError`] if the data cannot be read, or a file has no known modality.
pub fn open(source: &Source, sources: &SourceRegistry) -> Result<Detected, DataError> {
    if source.layout.is_some() {
        return sources.detect(source);
    }
    let location = source.path.as_str();
    if let Some(modality @ (Modality::Image | Modality::Audio)) = Modality::by_name(location)
        && !data::glob::is_pattern(location)
    {
        return Ok(single(location, modality, data::read(location)?));
    }
    let error = match sources.detect(source) {
        Err(error @ DataError::Layout { .. }) => error,
        opened => return opened,
    };
    match data::read(location) {
        Err(_) => Err(error),
        Ok(bytes) => match Modality::guess(location, &bytes) {
            Some(Modality::Trajectory) | None => Err(error),
            Some(Modality::Text) if Modality::by_name(location).is_none() && is_unread(location) => {
                Err(error)
            }
            Some(modality) => Ok(single(location, modality, bytes)),
        },
    }
}

fn single(location: &str, modality: Modality, bytes: Vec<u8>) -> Detected {
    let file = Value::File(File { name: location.into(), bytes });
    let row = Row { fields: [(modality.name().to_string(), file)].into() };
    let table = Arc::new(MemoryTable::new(location, vec![row]));
    Detected::only(table, "file", format!("it is a single file of modality {}", modality.name()))
}
