//! Pictures, with and without labels.

use super::digest::Digest;
use super::numbers::Numbers;
use super::part::{Bad, Named, Part, Seen, each};
use crate::cli::tokenize::Cut;
use crate::data::labelled::{self, Entry, Labelled};
use crate::data::{self, DataError, Files};
use crate::tasks::modalities::image::{Image, ImageTokenizer, cifar, idx, read};
use anyhow::{Context, Result, ensure};
use smalti_contract::{TokenizeError, Tokenizer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The names that splits go by.
const SPLITS: [&str; 6] = ["train", "training", "test", "val", "valid", "validation"];

/// Counts of the sizes of pictures.
#[derive(Default)]
struct Shapes {
    sizes: BTreeMap<[usize; 2], usize>,
    channels: BTreeMap<usize, usize>,
}

/// Reads one picture, or those of an IDX file.
pub fn check_file(path: &str, bytes: &[u8], cut: &Cut) -> Result<Part> {
    let mut part = Part::new("pictures without labels");
    records(path, bytes, &cut.of_pictures()?, &mut part);
    Ok(part)
}

/// Reads labelled pictures: those of a split, or of each split there is.
pub fn check_labelled(path: &str, split: Option<&str>, cut: &Cut) -> Result<Vec<Part>> {
    let tokenizer = cut.of_pictures()?;
    let error = match labelled::open(path, split) {
        Ok(pictures) => return Ok(vec![check(split, pictures, &tokenizer)?]),
        Err(error) if split.is_some() => return Err(error.into()),
        Err(error) => error,
    };
    // Where there are several splits, each opens by its name only.
    let parts = SPLITS.iter().filter_map(|split| match labelled::open(path, Some(split)) {
        Ok(pictures) => Some(check(Some(split), pictures, &tokenizer)),
        Err(DataError::Unknown { .. }) => None,
        Err(error) => Some(Err(error.into())),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    if parts.is_empty() { Err(error.into()) } else { Ok(parts) }
}

fn check(split: Option<&str>, pictures: Labelled, tokenizer: &ImageTokenizer) -> Result<Part> {
    let part = match pictures {
        Labelled::Files { sources, entries, classes, skipped } => {
            Part { skipped, ..files(sources, entries, classes, tokenizer) }
        }
        Labelled::Cifar { batches, classes } => batches_of_cifar(&batches, classes, tokenizer),
        Labelled::Idx { images, labels } => pair_of_idx(&images, &labels, tokenizer)?,
    };
    Ok(Part { split: split.map(str::to_string), ..part })
}

/// Pictures in files of their own.
fn files(
    sources: Vec<Arc<Files>>,
    entries: Vec<Entry>,
    classes: Vec<String>,
    tokenizer: &ImageTokenizer,
) -> Part {
    let mut part = Part::new("labelled pictures");
    let mut shapes = Shapes::default();
    let read = |entry: &Entry| {
        let bytes = sources[entry.source].read(&entry.path).map_err(|e| e.to_string())?;
        look(read(&bytes), tokenizer)
    };
    each(
        entries.iter(),
        Some(entries.len()),
        |entry| (entry, read(entry)),
        |(entry, read)| {
            let name = || sources[entry.source].location(&entry.path);
            shapes.add(part.count(name, read));
        },
    );
    shapes.find(&mut part);
    part.find("classes", counts(entries.iter().map(|entry| classes[entry.label as usize].clone())));
    part.named = Box::new(move |number| {
        let Entry { source, path, label } = &entries[number];
        let label = classes[*label as usize].clone();
        Named { name: sources[*source].location(path), split: None, label: Some(label) }
    });
    part
}

/// The batches of CIFAR-10, one in memory at a time.
fn batches_of_cifar(batches: &[String], classes: Vec<String>, tokenizer: &ImageTokenizer) -> Part {
    let mut part = Part::new("labelled pictures in CIFAR-10 batches");
    let (mut shapes, mut labels, mut begins) = (Shapes::default(), Vec::new(), Vec::new());
    for batch in batches {
        let read = data::read(batch).map_err(|e| e.to_string());
        let pictures = read.and_then(|bytes| cifar::pictures(&bytes).map_err(|e| e.to_string()));
        match pictures {
            Ok(pictures) => {
                begins.push((labels.len(), batch.clone()));
                let (images, of_batch): (Vec<Image>, Vec<u8>) = pictures.into_iter().unzip();
                labels.extend(of_batch);
                let total = Some(images.len());
                each(
                    images.into_iter(),
                    total,
                    |image| look(Ok(image), tokenizer),
                    |read| {
                        shapes.add(part.count(|| batch.clone(), read));
                    },
                );
            }
            // It is not known how many pictures are lost with it: not counted as one.
            Err(problem) => part.bad.push(Bad { name: batch.clone(), problem }),
        }
    }
    shapes.find(&mut part);
    let class = move |label: u8| classes.get(usize::from(label)).cloned().unwrap_or(label.to_string());
    part.find("classes", counts(labels.iter().map(|label| class(*label))));
    part.named = Box::new(move |number| {
        let (begin, batch) = &begins[begins.partition_point(|(begin, _)| *begin <= number) - 1];
        let name = format!("{batch} record {}", number - begin);
        Named { name, split: None, label: labels.get(number).map(|label| class(*label)) }
    });
    part
}

/// Pictures in one IDX file, labels in another.
fn pair_of_idx(images: &str, labels: &str, tokenizer: &ImageTokenizer) -> Result<Part> {
    let mut part = Part::new("labelled pictures in IDX files");
    records(images, &data::read(images)?, tokenizer, &mut part);
    let classes = idx::labels(&data::read(labels)?).context(labels.to_string())?;
    ensure!(
        part.samples == classes.len() || !part.bad.is_empty(),
        "{images} holds {} pictures; {labels} {} labels",
        part.samples,
        classes.len()
    );
    part.find("classes", counts(classes.iter().map(u8::to_string)));
    let unlabelled = part.named;
    part.named =
        Box::new(move |number| Named { label: classes.get(number).map(u8::to_string), ..unlabelled(number) });
    Ok(part)
}

/// The pictures of one file.
fn records(path: &str, bytes: &[u8], tokenizer: &ImageTokenizer, part: &mut Part) {
    let mut shapes = Shapes::default();
    let name = path.to_string();
    let named = move |number: usize| format!("{name} record {number}");
    each(
        tokenizer.records(bytes).enumerate(),
        None,
        |(i, image)| (i, look(image, tokenizer)),
        |(i, read)| {
            shapes.add(part.count(|| named(i), read));
        },
    );
    shapes.find(part);
    part.named = Box::new(move |number| Named { name: named(number), split: None, label: None });
}

/// Height, width and channels of a picture, what is in it, and how many patches it has.
fn look(image: Result<Image, TokenizeError>, tokenizer: &ImageTokenizer) -> Result<Seen<[usize; 3]>, String> {
    let image = image.map_err(|e| e.to_string())?;
    let size = [image.height, image.width, image.channels];
    Ok(Seen {
        content: Digest::of_bytes(&size, &image.pixels),
        tokens: tokenizer.encode(&image).map(|tokens| tokens.len()).map_err(|e| e.to_string()),
        size,
    })
}

impl Shapes {
    fn add(&mut self, size: Option<[usize; 3]>) {
        if let Some([height, width, channels]) = size {
            *self.sizes.entry([height, width]).or_default() += 1;
            *self.channels.entry(channels).or_default() += 1;
        }
    }

    fn find(&self, part: &mut Part) {
        let sizes = self.sizes.iter().map(|([height, width], n)| (format!("{height}×{width}"), *n));
        part.find("height_x_width", sizes.collect::<BTreeMap<_, _>>());
        for (axis, name) in ["height", "width"].into_iter().enumerate() {
            let mut sides = Numbers::default();
            for (size, n) in &self.sizes {
                (0..*n).for_each(|_| sides.add(size[axis] as f64));
            }
            part.find(name, sides.spread());
        }
        part.find("channels", &self.channels);
    }
}

fn counts(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}
