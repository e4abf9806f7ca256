//! One column of a table.

use crate::Images;
use std::ops::Range;

/// One column: for each step the same count of numbers, or an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The count of numbers per step.
    pub(crate) dim: usize,
    /// Row-major `[steps, dim]`.
    pub(crate) values: Vec<f64>,
    /// Whether the numbers are integers, by their type or by their notation.
    pub(crate) whole: bool,
    /// `[dim]`: the name of each number; empty if the file has no names.
    pub(crate) elements: Vec<String>,
    /// Images, instead of numbers.
    pub(crate) images: Option<Images>,
}

impl Column {
    /// A column of images.
    pub(crate) fn of_images(name: String, images: Images) -> Self {
        Self { name, images: Some(images), ..Self::default() }
    }

    pub(crate) fn rows(&self) -> usize {
        if let Some(images) = &self.images {
            return images.len();
        }
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }

    /// Keep the rows of these ranges, which are ascending.
    pub(super) fn keep(&mut self, ranges: &[Range<usize>]) {
        if let Some(images) = &self.images {
            self.images = Some(images.keep(ranges));
            return;
        }
        let rows = ranges.iter().flat_map(|range| &self.values[range.start * self.dim..range.end * self.dim]);
        self.values = rows.copied().collect();
    }
}
