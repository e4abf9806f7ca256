//! Small images with their captions.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::table::SPLITS;
use super::{Sizes, SyntheticError};
use crate::data::{DataError, shipped};
use serde::Deserialize;
use smalti_contract::{Array, Numbers, Value};

/// Small images of a coloured shape or handwritten digit at a random place, on black, with their captions.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Captions {
    /// What the images show.
    subject: Subject,
    /// Height and width of an image, in pixels.
    #[schemars(range(min = 8, max = 64))]
    image_size: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Subject {
    /// `a large red circle`
    #[default]
    Shapes,
    /// `a red seven`, of the handwritten digits that ship. The digits of a split are in no other.
    Digits,
}

impl Default for Captions {
    fn default() -> Self {
        Self { subject: Subject::Shapes, image_size: 16 }
    }
}

impl Kind for Captions {
    const NAME: &'static str = "captions";
    const ABOUT: &'static str = "small images of coloured shapes or digits, with captions and classes";
    const PAPER: &'static str = "for images from captions as in Ramesh et al. 2021, DALL-E";
    const FIELDS: &'static [&'static str] = &["image", "caption", "label"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        let digits = match self.subject {
            Subject::Shapes => Default::default(),
            Subject::Digits => shipped_digits()?,
        };
        Ok(Box::new(Images { size: self.image_size, subject: self.subject, digits }))
    }
}

/// The rows of [`Captions`].
struct Images {
    subject: Subject,
    size: usize,
    /// The digits of each split.
    digits: [Vec<Digit>; SPLITS.len()],
}

/// A handwritten digit: its number, and 8×8 grey pixels.
struct Digit(u8, [u8; SIDE * SIDE]);

const SIDE: usize = 8;
const COLOURS: [(&str, [u16; 3]); 6] = [
    ("red", [255, 0, 0]),
    ("green", [0, 255, 0]),
    ("blue", [0, 0, 255]),
    ("yellow", [255, 255, 0]),
    ("purple", [255, 0, 255]),
    ("white", [255, 255, 255]),
];
const SHAPES: [(&str, Shape); 4] = [
    ("circle", Shape::Circle),
    ("square", Shape::Square),
    ("triangle", Shape::Triangle),
    ("cross", Shape::Cross),
];
const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Circle,
    Square,
    Triangle,
    Cross,
}

impl Rows for Images {
    fn distinct(&self) -> Distinct {
        Distinct::ByFirstField
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let (colour, rgb) = *draw.pick(&COLOURS);
        let (caption, label, grey) = match self.subject {
            Subject::Shapes => {
                let (label, shape) = *draw.pick(&SHAPES);
                let (size, radius) = *draw.pick(&[("small", self.size * 3 / 2), ("large", self.size * 3)]);
                (format!("a {size} {colour} {label}"), label, self.shape(shape, radius, draw))
            }
            Subject::Digits => {
                let Digit(number, pixels) = draw.pick(&self.digits[draw.split]);
                let label = DIGITS[usize::from(*number)];
                (format!("a {colour} {label}"), label, self.digit(pixels, draw))
            }
        };
        let pixels =
            grey.iter().flat_map(|grey| rgb.map(|part| (part * u16::from(*grey) / 255) as u8)).collect();
        let image = Array { shape: vec![self.size, self.size, 3], numbers: Numbers::U8(pixels) };
        Some(vec![Value::Array(image), Value::Text(caption), label.into()])
    }
}

impl Images {
    /// A shape of this radius, in eighths of a pixel, as the share of each pixel that it covers: of 4×4 points.
    fn shape(&self, shape: Shape, radius: usize, draw: &mut Draw) -> Vec<u8> {
        let mut centre = || (radius + draw.below(8 * self.size - 2 * radius + 1)) as i64;
        let (row, column, radius) = (centre(), centre(), radius as i64);
        let covers = |y: usize, x: usize| shape.covers(y as i64 - row, x as i64 - column, radius);
        let covered = |place: usize| {
            let (top, left) = (place / self.size * 8, place % self.size * 8);
            let points = (0..16).filter(|i| covers(top + i / 4 * 2 + 1, left + i % 4 * 2 + 1)).count();
            (points * 255 / 16) as u8
        };
        (0..self.size * self.size).map(covered).collect()
    }

    /// A digit at a random place, enlarged to at most 7/8 of the image by its nearest pixels.
    fn digit(&self, pixels: &[u8; SIDE * SIDE], draw: &mut Draw) -> Vec<u8> {
        let side = (self.size - self.size / 8).max(SIDE);
        let (top, left) = (draw.below(self.size - side + 1), draw.below(self.size - side + 1));
        let mut grey = vec![0; self.size * self.size];
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            grey[(top + y) * self.size + left + x] = pixels[y * SIDE / side * SIDE + x * SIDE / side];
        }
        grey
    }
}

impl Shape {
    /// Whether a shape of this radius covers a point at this distance from its centre.
    fn covers(self, y: i64, x: i64, radius: i64) -> bool {
        match self {
            Shape::Circle => y * y + x * x <= radius * radius,
            Shape::Square => y.abs().max(x.abs()) <= radius * 7 / 8,
            Shape::Triangle => y.abs() <= radius && 2 * x.abs() <= y + radius,
            Shape::Cross => y.abs().max(x.abs()) <= radius && y.abs().min(x.abs()) <= radius / 3,
        }
    }
}

/// The digits that ship, by split: those for training, and halves of the others.
fn shipped_digits() -> Result<[Vec<Digit>; SPLITS.len()], DataError> {
    let mut validation = digits_of("t10k")?;
    let test = validation.split_off(validation.len() / 2);
    Ok([digits_of("train")?, validation, test])
}

/// The digits of a set of the shipped IDX files, whose headers have 16 and 8 bytes.
fn digits_of(set: &str) -> Result<Vec<Digit>, DataError> {
    let bytes = |kind: &str, header: usize| {
        let path = format!("digits/{set}-{kind}-ubyte");
        let file = shipped::files().iter().find(|(name, _)| *name == path);
        let content = file.and_then(|(_, bytes)| bytes.get(header..));
        content.ok_or_else(|| DataError::layout(&path, "it does not ship"))
    };
    let (images, labels) = (bytes("images-idx3", 16)?, bytes("labels-idx1", 8)?);
    let (images, _) = images.as_chunks::<{ SIDE * SIDE }>();
    Ok(labels.iter().zip(images).map(|(label, pixels)| Digit(*label, *pixels)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_look_like_their_names() {
        let drawn = |shape: Shape| -> Vec<String> {
            let row = |y: i64| (-4..=4).map(|x| if shape.covers(y, x, 4) { 'x' } else { '.' }).collect();
            (-4..=4).map(row).collect()
        };
        let expected = [
            "....x....",
            "..xxxxx..",
            ".xxxxxxx.",
            ".xxxxxxx.",
            "xxxxxxxxx",
            ".xxxxxxx.",
            ".xxxxxxx.",
            "..xxxxx..",
            "....x....",
        ];
        assert_eq!(drawn(Shape::Circle), expected);
        let expected = [
            "....x....",
            "....x....",
            "...xxx...",
            "...xxx...",
            "..xxxxx..",
            "..xxxxx..",
            ".xxxxxxx.",
            ".xxxxxxx.",
            "xxxxxxxxx",
        ];
        assert_eq!(drawn(Shape::Triangle), expected);
    }

    #[test]
    fn splits_have_digits_of_their_own() {
        assert_eq!(shipped_digits().unwrap().each_ref().map(Vec::len), [1437, 180, 180]);
    }
}
