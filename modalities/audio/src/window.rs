//! Window functions.

use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// A window function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// `0.5 − 0.5·cos`: the window of Whisper, librosa and AST.
    #[default]
    Hann,
    /// `0.54 − 0.46·cos`.
    Hamming,
    /// The Hann window to the power of 0.85, Kaldi's default.
    Povey,
    /// `0.42 − 0.5·cos + 0.08·cos` of twice the angle.
    Blackman,
    /// All weights 1.
    Rectangular,
}

impl Window {
    /// The weights of `length` samples. A periodic window is one period of the cosine without its last sample (for
    /// Fourier transforms); a symmetric one includes it.
    pub(crate) fn weights(self, length: usize, periodic: bool) -> Vec<f64> {
        let period = if periodic { length } else { length - 1 } as f64;
        let weight = |i: usize| {
            let angle = TAU * i as f64 / period;
            let hann = 0.5 - 0.5 * angle.cos();
            match self {
                Window::Hann => hann,
                Window::Hamming => 0.54 - 0.46 * angle.cos(),
                Window::Povey => hann.powf(0.85),
                Window::Blackman => 0.42 - 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos(),
                Window::Rectangular => 1.0,
            }
        };
        (0..length).map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_periodic_window_is_a_longer_symmetric_one_without_its_last_sample() {
        for window in [Window::Hann, Window::Hamming, Window::Povey, Window::Blackman, Window::Rectangular] {
            let (periodic, symmetric) = (window.weights(8, true), window.weights(9, false));
            assert_eq!(periodic, symmetric[..8], "{window:?}");
            assert!((symmetric[0] - symmetric[8]).abs() < 1e-12, "{window:?}");
            assert!((symmetric[4] - 1.0).abs() < 1e-12, "{window:?} peaks at 1 in its middle");
        }
    }

    #[test]
    fn weights_match_numpy_and_kaldi() {
        // numpy.hanning(5), numpy.hamming(5), numpy.blackman(5), and Kaldi's power of the first.
        let near = |found: Vec<f64>, expected: [f64; 5]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        near(Window::Hann.weights(5, false), [0.0, 0.5, 1.0, 0.5, 0.0]);
        near(Window::Hamming.weights(5, false), [0.08, 0.54, 1.0, 0.54, 0.08]);
        near(Window::Blackman.weights(5, false), [0.0, 0.34, 1.0, 0.34, 0.0]);
        let half = 0.5_f64.powf(0.85);
        near(Window::Povey.weights(5, false), [0.0, half, 1.0, half, 0.0]);
    }
}
