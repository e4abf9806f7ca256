//! Pictures, with and without labels.

use super::{Part, read_all};
use anyhow::{Context, Result, ensure};
use smalti::data::labelled::{self, Entry, Labelled};
use smalti::data::{self, DataError};
use smalti::tasks::modalities::image::{Image, ImageConfig, ImageTokenizer, cifar, idx, read};
use smalti_contract::Tokenizer;
use std::collections::BTreeMap;

/// Height, width and channels.
type Shape = [usize; 3];

/// The names that splits go by.
const SPLITS: [&str; 6] = ["train", "training", "test", "val", "valid", "validation"];

/// Reads one picture, or those of an IDX file.
pub fn check_file(bytes: &[u8]) -> Result<Part> {
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(1, 1, [1, 1]))?;
    let mut part = Part::new("pictures without labels");
    let mut shapes = Vec::new();
    for (i, image) in tokenizer.records(bytes).enumerate() {
        let read = image.map(|image| shape(&image)).map_err(|e| e.to_string());
        shapes.extend(part.count(|| format!("record {i}"), read));
    }
    find_shapes(&mut part, &shapes);
    Ok(part)
}

/// Reads labelled pictures: those of a split, or of each split there is.
pub fn check_labelled(path: &str, split: Option<&str>) -> Result<Vec<Part>> {
    let error = match labelled::open(path, split) {
        Ok(pictures) => return Ok(vec![check(split, pictures)?]),
        Err(error) if split.is_some() => return Err(error.into()),
        Err(error) => error,
    };
    // Where there are several splits, each opens by its name only.
    let parts = SPLITS.iter().filter_map(|split| match labelled::open(path, Some(split)) {
        Ok(pictures) => Some(check(Some(split), pictures)),
        Err(DataError::Unknown { .. }) => None,
        Err(error) => Some(Err(error.into())),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    if parts.is_empty() { Err(error.into()) } else { Ok(parts) }
}

fn check(split: Option<&str>, pictures: Labelled) -> Result<Part> {
    let part = match pictures {
        Labelled::Files { sources, entries, classes, skipped } => {
            let location = |entry: &Entry| sources[entry.source].location(&entry.path);
            let read = |entry: &Entry| {
                let bytes = sources[entry.source].read(&entry.path).map_err(|e| e.to_string())?;
                read(&bytes).map(|image| shape(&image)).map_err(|e| e.to_string())
            };
            let mut part = Part { skipped, ..Part::new("labelled pictures") };
            let mut shapes = Vec::new();
            for (entry, read) in entries.iter().zip(read_all(&entries, read)) {
                shapes.extend(part.count(|| location(entry), read));
            }
            find_shapes(&mut part, &shapes);
            part.find("classes", counts(entries.iter().map(|entry| classes[entry.label as usize].clone())));
            part
        }
        Labelled::Cifar { batches, classes } => {
            let mut part = Part::new("labelled pictures in CIFAR-10 batches");
            let (mut shapes, mut labels) = (Vec::new(), Vec::new());
            for batch in &batches {
                for (i, (image, label)) in
                    cifar::pictures(&data::read(batch)?).context(batch.clone())?.iter().enumerate()
                {
                    shapes.extend(part.count(|| format!("{batch} record {i}"), Ok(shape(image))));
                    labels.push(*label);
                }
            }
            find_shapes(&mut part, &shapes);
            let name = |label: u8| classes.get(usize::from(label)).cloned().unwrap_or(label.to_string());
            part.find("classes", counts(labels.into_iter().map(name)));
            part
        }
        Labelled::Idx { images, labels } => {
            let mut part = check_file(&data::read(&images)?).context(images.clone())?;
            let classes = idx::labels(&data::read(&labels)?).context(labels.clone())?;
            ensure!(
                part.samples == classes.len() || !part.bad.is_empty(),
                "{images} holds {} pictures; {labels} {} labels",
                part.samples,
                classes.len()
            );
            part.what = "labelled pictures in IDX files";
            part.find("classes", counts(classes.iter().map(u8::to_string)));
            part
        }
    };
    Ok(Part { split: split.map(str::to_string), ..part })
}

fn shape(image: &Image) -> Shape {
    [image.height, image.width, image.channels]
}

fn find_shapes(part: &mut Part, shapes: &[Shape]) {
    part.find("height_x_width", counts(shapes.iter().map(|[height, width, _]| format!("{height}×{width}"))));
    part.find("channels", counts(shapes.iter().map(|[.., channels]| channels.to_string())));
}

fn counts(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}
