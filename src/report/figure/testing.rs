//! Helpers of tests: the texts and lines of a scene, the pixels of a PNG.

use super::scene::{Scene, Shape};

/// A decoded PNG.
pub struct Figure {
    pub width: usize,
    pub height: usize,
    rgb: Vec<u8>,
}

impl Figure {
    /// The pixel at column `x` and row `y`.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let [r, g, b] = self.rgb[(y * self.width + x) * 3..][..3] else { unreachable!() };
        [r, g, b]
    }
}

/// Decodes a PNG.
pub fn read(png: &[u8]) -> Figure {
    let figure = image::load_from_memory_with_format(png, image::ImageFormat::Png).unwrap().into_rgb8();
    Figure { width: figure.width() as usize, height: figure.height() as usize, rgb: figure.into_raw() }
}

/// Every text of a scene, in the order of drawing.
pub fn texts(scene: &Scene) -> Vec<&str> {
    let texts = scene.shapes.iter().filter_map(|shape| match shape {
        Shape::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The left edges of the scene's vertical lines: rectangles of this width.
#[cfg(any(feature = "image", feature = "audio"))]
pub fn vertical_lines(scene: &Scene, width: f32) -> Vec<f32> {
    let left = |shape: &Shape| match shape {
        Shape::Rect { at, size, .. } if size[0] == width && size[1] > width => Some(at[0]),
        _ => None,
    };
    scene.shapes.iter().filter_map(left).collect()
}
