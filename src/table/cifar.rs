//! CIFAR-10 in its published format: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, with the class names
//! in `batches.meta.txt`.

use super::pixels::{Pixels, Set};
use super::place::{file_name, read_classes};
use super::{Place, Table};
use crate::data::{DataError, files};
use smalti_image::cifar;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "cifar";
const NAMES: &str = "batches.meta.txt";

/// Opens a batch, the batches of a pattern, or all batches in a folder or archive: the fields `image` (`[32, 32, 3]` bytes),
/// `label` and `split`.
///
/// # Errors
/// [`DataError`] if no file can be read. A corrupt file among others is one row, whose values cannot be read.
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
        return place.decline("it has no file with a name of CIFAR-10's, such as data_batch_1.bin");
    }
    place.refuse_columns(NAME)?;
    locations.sort();
    let first = &locations[0];
    let names = files::join(first.strip_suffix(file_name(first)).unwrap_or_default(), NAMES);
    let classes = if files::is_file(&names)? { Some(read_classes(&names)?) } else { None };
    let mut errors = vec![];
    let read = |location: &String| {
        read(location).unwrap_or_else(|error| {
            let set = corrupt(location, &error);
            errors.push(error);
            set
        })
    };
    let sets: Vec<Set> = locations.iter().map(read).collect();
    if errors.len() == sets.len() {
        return Err(errors.swap_remove(0));
    }
    place.because(format!("it has files with names of CIFAR-10's, such as {}", file_name(&locations[0])));
    Ok(Some(Arc::new(Pixels::new(&place.path, sets, classes)?)))
}

fn read(location: &str) -> Result<Set, DataError> {
    let images = cifar::images(&files::read(location)?).map_err(|e| DataError::tokenize(location, e))?;
    let (mut pixels, mut labels, mut shape) = (vec![], vec![], vec![0, 0, 0]);
    for (image, label) in images {
        shape = vec![image.height, image.width, image.channels];
        pixels.extend(image.pixels);
        labels.push(label);
    }
    let split = split(location).unwrap_or_default().to_string();
    Ok(Set { location: location.into(), split, shape, pixels, labels, problem: None })
}

/// One row in place of a file that cannot be read, whose number of images is not known.
fn corrupt(location: &str, error: &DataError) -> Set {
    let problem = match error {
        DataError::Tokenize { problem, .. } => problem.clone(),
        other => other.to_string(),
    };
    let split = split(location).unwrap_or_default().to_string();
    let (location, labels, problem) = (location.into(), vec![0], Some(problem));
    Set { location, split, shape: vec![0], pixels: vec![], labels, problem }
}

fn split(location: &str) -> Option<&'static str> {
    match file_name(location).strip_suffix(".bin")? {
        "test_batch" => Some("test"),
        name => name.strip_prefix("data_batch_").map(|_| "train"),
    }
}
