//! Where pictures and their classes come from.

use crate::data::labelled::{self, Entry, Labelled};
use crate::data::{self, DataError, Files};
use crate::tasks::TaskError;
use smalti_image::{Image, cifar, idx};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Labelled pictures: in memory, or in files that are read when they are needed.
pub(super) struct Pictures {
    pub(super) classes: Vec<String>,
    /// The class of each picture: an index into the classes.
    labels: Vec<u32>,
    store: Store,
    /// What transparent pictures in files are laid over.
    background: [u8; 3],
    /// Files that are none of the pictures, and why.
    pub(super) skipped: Vec<(String, &'static str)>,
}

enum Store {
    Memory(Vec<Image>),
    Files { sources: Vec<Arc<Files>>, entries: Vec<Entry> },
}

impl Pictures {
    pub(super) fn open(path: &str, split: Option<&str>, background: [u8; 3]) -> Result<Self, TaskError> {
        match labelled::open(path, split)? {
            Labelled::Files { sources, entries, classes, skipped } => {
                let labels = entries.iter().map(|entry| entry.label).collect();
                Ok(Self { classes, labels, store: Store::Files { sources, entries }, background, skipped })
            }
            Labelled::Cifar { batches, classes } => Self::of_cifar(&batches, classes),
            Labelled::Idx { images, labels } => {
                let labels_read =
                    idx::labels(&data::read(&labels)?).map_err(|e| DataError::tokenize(&labels, e))?;
                let bytes = data::read(&images)?;
                let pictures = idx::images(&bytes).collect::<Result<Vec<Image>, _>>();
                let pictures = pictures.map_err(|e| DataError::tokenize(&images, e))?;
                if pictures.len() != labels_read.len() {
                    let problem = format!(
                        "{images} holds {} images; {labels} {} labels",
                        pictures.len(),
                        labels_read.len()
                    );
                    return Err(TaskError::Setting { setting: "path", problem });
                }
                let classes = labels_read.iter().max().map_or(0, |most| usize::from(*most) + 1);
                let classes = (0..classes).map(|class| class.to_string()).collect();
                let labels = labels_read.into_iter().map(u32::from).collect();
                Ok(Self::in_memory(pictures, labels, classes))
            }
        }
    }

    fn in_memory(pictures: Vec<Image>, labels: Vec<u32>, classes: Vec<String>) -> Self {
        // No pixel of these is transparent.
        Self { classes, labels, store: Store::Memory(pictures), background: [0; 3], skipped: vec![] }
    }

    fn of_cifar(batches: &[String], classes: Vec<String>) -> Result<Self, TaskError> {
        let (mut pictures, mut labels) = (Vec::new(), Vec::new());
        for batch in batches {
            let read = cifar::pictures(&data::read(batch)?).map_err(|e| DataError::tokenize(batch, e))?;
            for (image, label) in read {
                pictures.push(image);
                labels.push(u32::from(label));
            }
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes.len()) {
            let problem = format!("a label is {label}; {} classes are named", classes.len());
            return Err(TaskError::Setting { setting: "path", problem });
        }
        Ok(Self::in_memory(pictures, labels, classes))
    }

    /// Numbers the classes as training does. Another source, or another part of the same, may have fewer of them or
    /// in another order: what a class means is its name. `setting` is what these pictures come from.
    pub(super) fn number_as(&mut self, known: &[String], setting: &'static str) -> Result<(), TaskError> {
        let numbers: BTreeMap<&str, u32> = known.iter().map(String::as_str).zip(0..).collect();
        let number = |(index, label): (usize, &u32)| {
            let class = &self.classes[*label as usize];
            numbers.get(class.as_str()).copied().ok_or_else(|| {
                let known = labelled::listed(known.iter().map(String::as_str));
                let problem =
                    format!("{} is of class {class:?}; training knows {known}", self.location(index));
                TaskError::Setting { setting, problem }
            })
        };
        let labels: Vec<u32> = self.labels.iter().enumerate().map(number).collect::<Result<_, _>>()?;
        self.labels = labels;
        self.classes = known.to_vec();
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn location(&self, index: usize) -> String {
        match &self.store {
            Store::Memory(_) => format!("record {index}"),
            Store::Files { sources, entries } => {
                sources[entries[index].source].location(&entries[index].path)
            }
        }
    }

    /// What tells a picture and its class from every other; `None` where there is nothing left to decode.
    pub(super) fn origin(&self, index: usize) -> Option<String> {
        let Store::Files { sources, entries } = &self.store else { return None };
        let Entry { source, path, .. } = &entries[index];
        Some(format!("of class {}: {}", self.labels[index], sources[*source].origin(path)?))
    }

    pub(super) fn get(&self, index: usize) -> Result<(Image, u32), DataError> {
        let image = match &self.store {
            Store::Memory(pictures) => pictures[index].clone(),
            Store::Files { sources, entries } => {
                let entry = &entries[index];
                let files = &sources[entry.source];
                let image = smalti_image::read_over(&files.read(&entry.path)?, self.background);
                image.map_err(|e| DataError::tokenize(&files.location(&entry.path), e))?
            }
        };
        Ok((image, self.labels[index]))
    }
}
