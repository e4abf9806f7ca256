//! The summary of one value of a field.

use super::counts::{Counts, ValueType};
use super::text;
use crate::table::Modality;
use sha2::{Digest, Sha256};
#[cfg(any(feature = "image", feature = "trajectory"))]
use smalti_contract::{Array, Numbers};
use smalti_contract::{File, TokenizeError, Value};

/// How values are cut into tokens, to count the tokens. `None` is the default of the modality.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slicing {
    /// Whether a token of text is a byte and not a character.
    pub bytes: bool,
    /// The side of a square patch, in pixels.
    pub patch_size: Option<usize>,
    /// `[height, width]` in pixels that images are resized to.
    pub image_size: Option<[usize; 2]>,
    /// Frames of a spectrogram in a token.
    pub frames_per_slice: Option<usize>,
    /// Frames from the start of one token to the start of the next.
    pub slice_hop: Option<usize>,
}

/// Tokenizers that read values and count their tokens.
pub(super) struct Readers {
    pub bytes: bool,
    #[cfg(any(feature = "image", feature = "trajectory"))]
    pub image: crate::modalities::image::ImageTokenizer,
    #[cfg(feature = "audio")]
    pub audio: crate::modalities::audio::AudioTokenizer,
}

/// The counts, tokens and digest of one value; a series is one value.
#[derive(Default)]
pub(super) struct ValueSummary {
    pub counts: Counts,
    /// The number of tokens, or the error of tokenizing.
    pub tokens: Option<Result<usize, String>>,
    pub digest: Sha256,
}

impl Readers {
    /// Readers with this slicing.
    ///
    /// # Errors
    /// If its settings contradict each other.
    pub fn new(slicing: &Slicing) -> Result<Self, TokenizeError> {
        Ok(Self {
            bytes: slicing.bytes,
            #[cfg(any(feature = "image", feature = "trajectory"))]
            image: super::image::reader(slicing)?,
            #[cfg(feature = "audio")]
            audio: super::audio::reader(slicing)?,
        })
    }

    /// Summarizes a value.
    ///
    /// # Errors
    /// If it cannot be used; the error has the step of a series.
    pub fn summarize(&self, value: Value) -> Result<ValueSummary, String> {
        let mut summary = ValueSummary::default();
        match value {
            Value::Series(steps) => {
                summary.counts.series = true;
                for (number, step) in steps.into_iter().enumerate() {
                    self.step(&mut summary, step).map_err(|e| format!("step {number}: {e}"))?;
                }
                if summary.counts.holds == ValueType::Number {
                    summary.counts.measure("sum", summary.counts.range.sum);
                }
            }
            value => self.step(&mut summary, value)?,
        }
        Ok(summary)
    }

    fn step(&self, summary: &mut ValueSummary, value: Value) -> Result<(), String> {
        summary.counts.values += 1;
        match value {
            Value::Missing => summary.counts.missing += 1,
            Value::Text(text) => text::summarize(self, summary, &text),
            Value::Number(number) => {
                summary.counts.holds = ValueType::Number;
                summary.counts.label(number.to_string());
                summary.numbers(&[number]);
            }
            #[cfg(any(feature = "image", feature = "trajectory"))]
            Value::Array(array) if is_image(&array) => self.image(summary, Value::Array(array))?,
            Value::Array(array) => {
                summary.counts.holds = ValueType::Array;
                summary.counts.count("shape", format!("{:?}", array.shape));
                summary.numbers(&array.to_f32().into_iter().map(f64::from).collect::<Vec<_>>());
            }
            Value::File(file) => self.file(summary, file)?,
            Value::Series(_) | Value::Several { .. } => {
                return Err(value.unexpected("a single value").to_string());
            }
        }
        Ok(())
    }

    fn file(&self, summary: &mut ValueSummary, file: File) -> Result<(), String> {
        match Modality::guess(&file.name, &file.bytes) {
            #[cfg(any(feature = "image", feature = "trajectory"))]
            Some(Modality::Image) => return self.image(summary, Value::File(file)),
            #[cfg(feature = "audio")]
            Some(Modality::Audio) => return self.audio(summary, Value::File(file)),
            Some(Modality::Text) => {
                let text = Value::File(file).into_text().map_err(|e| e.to_string())?;
                text::summarize(self, summary, &text);
            }
            _ => {
                summary.counts.holds = ValueType::File;
                summary.counts.measure("bytes", file.bytes.len() as f64);
                summary.digest.update(&file.bytes);
            }
        }
        Ok(())
    }
}

impl ValueSummary {
    /// Adds the tokens of one step.
    pub fn tokens(&mut self, found: Result<usize, String>) {
        self.tokens = match (self.tokens.take(), found) {
            (Some(Ok(n)), Ok(more)) => Some(Ok(n + more)),
            (Some(Err(why)), _) => Some(Err(why)),
            (_, found) => Some(found),
        };
    }

    /// Adds the numbers of one step, which are one token of a series.
    fn numbers(&mut self, numbers: &[f64]) {
        for number in numbers {
            self.counts.range.add(*number);
            self.digest.update(number.to_le_bytes());
        }
        if self.counts.series {
            self.tokens(Ok(1));
        }
    }
}

/// Whether an array has the pixels of an image.
#[cfg(any(feature = "image", feature = "trajectory"))]
fn is_image(array: &Array) -> bool {
    matches!(array.numbers, Numbers::U8(_)) && matches!(array.shape[..], [_, _] | [_, _, 1 | 3])
}
