//! The filters of Pillow's `Image.resize`.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The resampling filter of a resized image; the names are Pillow's.
///
/// If an image shrinks, the filter is widened accordingly, so that every pixel contributes. Only `nearest` skips
/// pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the source pixels.
    Box,
    /// Linear interpolation between pixels.
    #[default]
    Bilinear,
    /// Cubic interpolation (Catmull-Rom, a = -0.5).
    Bicubic,
    /// A sinc function windowed to three lobes.
    Lanczos,
}

impl Filter {
    /// The filter's radius, in pixels of the smaller of the two images.
    pub(super) fn reach(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// The weight of a pixel at distance `x`, term for term as in Pillow's `Resample.c`, because another order rounds
    /// differently.
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
