//! What one value of a field is like.

use super::text;
use crate::table::Modality;
use serde::Serialize;
use sha2::{Digest, Sha256};
use smalti_contract::{Array, File, Numbers, TokenizeError, Value};
use std::collections::BTreeMap;

/// How values are cut into tokens, to count these. What is left out is the default of the modality.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slicing {
    /// A token of text is a byte, and not a character.
    pub bytes: bool,
    /// The side of a square patch, in pixels.
    pub patch_size: Option<usize>,
    /// `[height, width]` in pixels that images are resized to.
    pub image_size: Option<[usize; 2]>,
    /// Frames of a spectrogram in a token.
    pub frames_per_slice: Option<usize>,
    /// Frames from the start of a token to that of the next.
    pub slice_hop: Option<usize>,
}

/// What reads values and counts their tokens.
pub(super) struct Readers {
    pub bytes: bool,
    #[cfg(any(feature = "image", feature = "trajectory"))]
    pub image: smalti_image::ImageTokenizer,
    #[cfg(feature = "audio")]
    pub audio: smalti_audio::AudioTokenizer,
}

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Nothing.
    #[default]
    Missing,
    /// A text.
    Text,
    /// A number.
    Number,
    /// An array of numbers.
    Array,
    /// An image: a file, or an array of bytes.
    Image,
    /// An audio clip.
    Audio,
    /// A file of another sort.
    File,
}

/// What a value is like, or the steps of a series together.
#[derive(Default)]
pub(super) struct Look {
    pub holds: Holds,
    /// Whether it is a series.
    pub series: bool,
    pub values: usize,
    pub missing: usize,
    /// The number of tokens, or why it has none.
    pub tokens: Option<Result<usize, String>>,
    /// How often each of some names comes, such as `8×8` of `height_x_width`.
    pub counts: BTreeMap<&'static str, BTreeMap<String, usize>>,
    /// Numbers that are added up over all values.
    pub totals: BTreeMap<&'static str, f64>,
    /// Numbers of which the spread over all values is told.
    pub measures: BTreeMap<&'static str, Vec<f64>>,
    pub characters: BTreeMap<char, usize>,
    pub labels: BTreeMap<String, usize>,
    pub range: Range,
    /// `[height, width]` of the first image.
    pub size: Option<[usize; 2]>,
    pub digest: Sha256,
}

/// The range of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub count: usize,
    pub low: f64,
    pub high: f64,
    pub sum: f64,
    /// Whether all are whole and not negative: ids.
    pub whole: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self { count: 0, low: f64::INFINITY, high: f64::NEG_INFINITY, sum: 0.0, whole: true }
    }
}

impl Range {
    fn add(&mut self, number: f64) {
        let whole = number >= 0.0 && number.fract() == 0.0;
        self.merge(Self { count: 1, low: number, high: number, sum: number, whole });
    }

    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.sum += other.sum;
        self.whole &= other.whole;
    }
}

impl Readers {
    #[cfg_attr(
        not(any(feature = "image", feature = "trajectory", feature = "audio")),
        allow(clippy::unnecessary_wraps)
    )]
    pub fn new(slicing: &Slicing) -> Result<Self, TokenizeError> {
        Ok(Self {
            bytes: slicing.bytes,
            #[cfg(any(feature = "image", feature = "trajectory"))]
            image: super::image::reader(slicing)?,
            #[cfg(feature = "audio")]
            audio: super::audio::reader(slicing)?,
        })
    }

    /// What a value is like.
    ///
    /// # Errors
    /// Why it cannot be used, with the step of a series.
    pub fn look(&self, value: Value) -> Result<Look, String> {
        let mut look = Look::default();
        match value {
            Value::Series(steps) => {
                look.series = true;
                for (number, step) in steps.into_iter().enumerate() {
                    self.step(&mut look, step).map_err(|e| format!("step {number}: {e}"))?;
                }
                if look.holds == Holds::Number {
                    look.measure("sum", look.range.sum);
                }
            }
            value => self.step(&mut look, value)?,
        }
        Ok(look)
    }

    fn step(&self, look: &mut Look, value: Value) -> Result<(), String> {
        look.values += 1;
        match value {
            Value::Missing => look.missing += 1,
            Value::Text(text) => text::look(self, look, &text),
            Value::Number(number) => {
                look.holds = Holds::Number;
                look.label(number.to_string());
                look.numbers(&[number]);
            }
            Value::Array(array) if is_image(&array) => self.image(look, Value::Array(array))?,
            Value::Array(array) => {
                look.holds = Holds::Array;
                look.count("shape", format!("{:?}", array.shape));
                look.numbers(&array.to_f32().into_iter().map(f64::from).collect::<Vec<_>>());
            }
            Value::File(file) => self.file(look, file)?,
            Value::Series(_) | Value::Several { .. } => {
                return Err(value.unexpected("a single value").to_string());
            }
        }
        Ok(())
    }

    fn file(&self, look: &mut Look, file: File) -> Result<(), String> {
        match Modality::guess(&file.name, &file.bytes) {
            Some(Modality::Image) => self.image(look, Value::File(file)),
            Some(Modality::Audio) => self.audio(look, Value::File(file)),
            Some(Modality::Text) => {
                let text = Value::File(file).into_text().map_err(|e| e.to_string())?;
                text::look(self, look, &text);
                Ok(())
            }
            Some(Modality::Trajectory) | None => {
                look.any_file(&file);
                Ok(())
            }
        }
    }

    #[cfg(not(any(feature = "image", feature = "trajectory")))]
    fn image(&self, look: &mut Look, value: Value) -> Result<(), String> {
        look.unread(&value);
        Ok(())
    }

    #[cfg(not(feature = "audio"))]
    fn audio(&self, look: &mut Look, value: Value) -> Result<(), String> {
        look.unread(&value);
        Ok(())
    }
}

impl Look {
    /// Counts one of a name.
    pub fn count(&mut self, what: &'static str, name: String) {
        *self.counts.entry(what).or_default().entry(name).or_default() += 1;
    }

    /// Adds to a total.
    pub fn total(&mut self, what: &'static str, number: f64) {
        *self.totals.entry(what).or_default() += number;
    }

    /// Notes a number.
    pub fn measure(&mut self, what: &'static str, number: f64) {
        self.measures.entry(what).or_default().push(number);
    }

    /// Notes what may be a class.
    pub fn label(&mut self, label: String) {
        *self.labels.entry(label).or_default() += 1;
    }

    /// Adds the tokens of one step.
    pub fn tokens(&mut self, found: Result<usize, String>) {
        self.tokens = match (self.tokens.take(), found) {
            (Some(Ok(n)), Ok(more)) => Some(Ok(n + more)),
            (Some(Err(why)), _) => Some(Err(why)),
            (_, found) => Some(found),
        };
    }

    /// Numbers of one step, which are one token of a series.
    fn numbers(&mut self, numbers: &[f64]) {
        for number in numbers {
            self.range.add(*number);
            self.digest.update(number.to_le_bytes());
        }
        if self.series {
            self.tokens(Ok(1));
        }
    }

    fn any_file(&mut self, file: &File) {
        self.holds = Holds::File;
        self.measure("bytes", file.bytes.len() as f64);
        self.digest.update(&file.bytes);
    }

    #[cfg(not(all(feature = "image", feature = "audio")))]
    #[cfg_attr(all(feature = "trajectory", feature = "audio"), allow(dead_code))]
    fn unread(&mut self, value: &Value) {
        match value {
            Value::File(file) => self.any_file(file),
            _ => self.holds = Holds::Array,
        }
    }
}

/// Whether an array is the pixels of an image.
fn is_image(array: &Array) -> bool {
    matches!(array.numbers, Numbers::U8(_)) && matches!(array.shape[..], [_, _] | [_, _, 1 | 3])
}
