//! What is seen before acting.

use std::collections::BTreeMap;

/// What is seen before acting: numbers, pictures, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// `[state_dim]`.
    pub state: Vec<f32>,
    /// By the camera's name.
    pub pictures: BTreeMap<String, Picture>,
}

/// A picture of 8-bit pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
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
    /// The content of a picture file, such as a PNG.
    Encoded(Vec<u8>),
}

impl From<Vec<f32>> for Observation {
    /// Numbers alone.
    fn from(state: Vec<f32>) -> Self {
        Self { state, pictures: BTreeMap::new() }
    }
}
