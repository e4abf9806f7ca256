//! CIFAR-10 as it is published: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, with the names of the
//! classes in `batches.meta.txt`.

use super::pixels::{Pixels, Set};
use super::place::{file_name, read_classes};
use super::{Place, Table};
use crate::data::{DataError, files};
use smalti_image::cifar;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "cifar";
const NAMES: &str = "batches.meta.txt";

/// Opens a batch, the batches of a pattern, or all in a folder or archive: the fields `image` (`[32, 32, 3]` bytes), `label`
/// and `split`.
///
/// # Errors
/// [`DataError`] for damaged files.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let mut locations: Vec<String> = match place.files()? {
        Some(files) => files
            .list()
            .iter()
            .filter(|path| split(path).is_some())
            .map(|path| files.location(path))
            .collect(),
        None => place.locations()?,
    };
    if locations.is_empty() || !locations.iter().all(|location| split(location).is_some()) {
        return Ok(None);
    }
    place.refuse_columns(NAME)?;
    locations.sort();
    let first = &locations[0];
    let names = files::join(first.strip_suffix(file_name(first)).unwrap_or_default(), NAMES);
    let classes = if files::is_file(&names)? { Some(read_classes(&names)?) } else { None };
    let sets = locations.iter().map(|location| read(location)).collect::<Result<_, _>>()?;
    Ok(Some(Arc::new(Pixels::new(&place.path, sets, classes)?)))
}

fn read(location: &str) -> Result<Set, DataError> {
    let images = cifar::pictures(&files::read(location)?).map_err(|e| DataError::tokenize(location, e))?;
    let (mut pixels, mut labels, mut shape) = (vec![], vec![], vec![0, 0, 0]);
    for (image, label) in images {
        shape = vec![image.height, image.width, image.channels];
        pixels.extend(image.pixels);
        labels.push(label);
    }
    let split = split(location).unwrap_or_default().to_string();
    Ok(Set { location: location.into(), split, shape, pixels, labels })
}

fn split(location: &str) -> Option<&'static str> {
    match file_name(location).strip_suffix(".bin")? {
        "test_batch" => Some("test"),
        name => name.strip_prefix("data_batch_").map(|_| "train"),
    }
}
