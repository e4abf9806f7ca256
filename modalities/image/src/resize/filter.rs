//! The filters of Pillow's `Image.resize`.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the pixels of a resized image are made of those around them; the names are Pillow's.
///
/// Where an image shrinks, the filter is widened with it, so that every pixel counts. Only `nearest` leaves pixels out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels below.
    Box,
    /// Straight lines between pixels.
    #[default]
    Bilinear,
    /// Cubic curves (Catmull-Rom, a = -0.5).
    Bicubic,
    /// A sine wave windowed by three of its periods.
    Lanczos,
}

impl Filter {
    /// How far the filter reaches either way, in pixels of the smaller of the two images.
    pub(super) fn reach(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// The weight of a pixel `x` pixels away. Term for term as in Pillow's `Resample.c`: another order rounds otherwise.
    pub(super) fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        match (self, x.abs()) {
            (Filter::Nearest | Filter::Box, _) => f64::from(x > -0.5 && x <= 0.5),
            (Filter::Bilinear, x) if x < 1.0 => 1.0 - x,
            (Filter::Bicubic, x) if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            (Filter::Bicubic, x) if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            (Filter::Lanczos, _) if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}
