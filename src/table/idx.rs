//! IDX pairs, the format of MNIST: `train-images-idx3-ubyte.gz` beside `train-labels-idx1-ubyte.gz`.

use super::pixels::{Pixels, Set};
use super::place::{canonical_split, file_name};
use super::{Place, Table};
use crate::data::{DataError, files};
use smalti_image::idx;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "idx";
const IMAGES: [&str; 2] = ["-images-idx3-ubyte", "-images.idx3-ubyte"];
const LABELS: [&str; 2] = ["-labels-idx1-ubyte", "-labels.idx1-ubyte"];

/// Opens a file of images, the files of a pattern, or all files in a folder or archive, each with its labels: the fields `image`
/// (`[height, width]` bytes), `label` and `split`. A packed file beside the unpacked one, as torchvision leaves it, is skipped.
///
/// # Errors
/// [`DataError`] for corrupt files, images without labels, and several files of one split.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let locations: Vec<String> = match place.files()? {
        Some(files) => {
            files.list().iter().filter(|path| stem(path).is_some()).map(|path| files.location(path)).collect()
        }
        None => place.locations()?,
    };
    let (packed, locations): (Vec<String>, Vec<String>) = locations.iter().cloned().partition(|location| {
        location.strip_suffix(".gz").is_some_and(|plain| locations.iter().any(|l| l == plain))
    });
    let stems: Option<Vec<&str>> = locations.iter().map(|location| stem(location)).collect();
    let Some(stems) = stems.filter(|stems| !stems.is_empty()) else {
        return place.decline("it has no file with a name of MNIST's, such as train-images-idx3-ubyte");
    };
    place.refuse_columns(NAME)?;
    let mut sets: Vec<Set> = vec![];
    // The training split comes first.
    let mut pairs: Vec<(&String, &str)> = locations.iter().zip(stems).collect();
    pairs.sort_by_key(|(_, stem)| (split(stem) != "train", split(stem)));
    for (images, stem) in pairs {
        if let Some(other) = sets.iter().find(|set| set.split == split(stem)) {
            let problem = format!(
                "holds several files of the split {:?}: {} and {images}; name one",
                other.split, other.location
            );
            return Err(DataError::layout(&place.path, problem));
        }
        sets.push(read(images, stem)?);
    }
    place.because(format!("it has files with names of MNIST's, such as {}", file_name(&sets[0].location)));
    let mut pixels = Pixels::new(&place.path, sets, None)?;
    let hidden = place.files()?.into_iter().flat_map(|files| {
        files.skipped().iter().map(|(path, why)| (files.location(path), *why)).collect::<Vec<_>>()
    });
    let packed = packed.into_iter().map(|location| (location, "the unpacked file is beside it"));
    pixels.skipped = hidden.chain(packed).collect();
    Ok(Some(Arc::new(pixels)))
}

fn read(images: &str, stem: &str) -> Result<Set, DataError> {
    let bytes = files::read(images)?;
    let names = LABELS.iter().flat_map(|name| [format!("{stem}{name}"), format!("{stem}{name}.gz")]);
    let mut labels = None;
    for name in names {
        if labels.is_none() && files::is_file(&name)? {
            labels = Some(name);
        }
    }
    let labels = labels.ok_or_else(|| DataError::Missing {
        location: format!("{stem}{}", LABELS[0]),
        expected: format!("the labels of {images}"),
    })?;
    let (mut shape, mut pixels) = (vec![0, 0], vec![]);
    for image in idx::images(&bytes) {
        let image = image.map_err(|e| DataError::tokenize(images, e))?;
        shape = vec![image.height, image.width];
        pixels.extend(image.pixels);
    }
    if pixels.is_empty() {
        return Err(DataError::Empty { location: images.into(), expected: "images" });
    }
    let labels = idx::labels(&files::read(&labels)?).map_err(|e| DataError::tokenize(&labels, e))?;
    Ok(Set { location: images.into(), split: split(stem).into(), shape, pixels, labels, problem: None })
}

/// The location of a file of images without its ending: `mnist/train`.
fn stem(location: &str) -> Option<&str> {
    let unpacked = location.strip_suffix(".gz").unwrap_or(location);
    IMAGES.iter().find_map(|name| unpacked.strip_suffix(name))
}

/// The split, which is the last word; `t10k` is MNIST's name of `test`.
fn split(stem: &str) -> &str {
    match stem.rsplit(['/', ':', '-']).next().unwrap_or(stem) {
        "t10k" => "test",
        name => canonical_split(name),
    }
}
