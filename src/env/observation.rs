//! Observations of an environment.

use std::collections::BTreeMap;

/// An observation: numbers, images, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// `[state_dim]`.
    pub state: Vec<f32>,
    /// Images by camera name.
    pub images: BTreeMap<String, Image>,
}

/// An image of 8-bit pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// The pixels themselves.
    Pixels {
        /// In pixels.
        height: usize,
        /// In pixels.
        width: usize,
        /// 1 for grey, 3 for RGB.
        channels: usize,
        /// Row-major `[height, width, channels]`.
        pixels: Vec<u8>,
    },
    /// The content of an image file, such as a PNG.
    Encoded(Vec<u8>),
}

impl From<Vec<f32>> for Observation {
    /// An observation without images.
    fn from(state: Vec<f32>) -> Self {
        Self { state, images: BTreeMap::new() }
    }
}
