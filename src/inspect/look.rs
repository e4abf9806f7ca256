//! What one value of a field is like.

use super::counts::{Counts, Holds};
use super::text;
use crate::table::Modality;
use sha2::{Digest, Sha256};
#[cfg(any(feature = "image", feature = "trajectory"))]
use smalti_contract::{Array, Numbers};
use smalti_contract::{File, TokenizeError, Value};

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
    pub image: crate::modalities::image::ImageTokenizer,
    #[cfg(feature = "audio")]
    pub audio: crate::modalities::audio::AudioTokenizer,
}

/// What one value is like, or the steps of a series together.
#[derive(Default)]
pub(super) struct Look {
    pub counts: Counts,
    /// The number of tokens, or why it has none.
    pub tokens: Option<Result<usize, String>>,
    pub digest: Sha256,
}

impl Readers {
    /// Readers that cut values so.
    ///
    /// # Errors
    /// Settings that cannot work together.
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
                look.counts.series = true;
                for (number, step) in steps.into_iter().enumerate() {
                    self.step(&mut look, step).map_err(|e| format!("step {number}: {e}"))?;
                }
                if look.counts.holds == Holds::Number {
                    look.counts.measure("sum", look.counts.range.sum);
                }
            }
            value => self.step(&mut look, value)?,
        }
        Ok(look)
    }

    fn step(&self, look: &mut Look, value: Value) -> Result<(), String> {
        look.counts.values += 1;
        match value {
            Value::Missing => look.counts.missing += 1,
            Value::Text(text) => text::look(self, look, &text),
            Value::Number(number) => {
                look.counts.holds = Holds::Number;
                look.counts.label(number.to_string());
                look.numbers(&[number]);
            }
            #[cfg(any(feature = "image", feature = "trajectory"))]
            Value::Array(array) if is_image(&array) => self.image(look, Value::Array(array))?,
            Value::Array(array) => {
                look.counts.holds = Holds::Array;
                look.counts.count("shape", format!("{:?}", array.shape));
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
            #[cfg(any(feature = "image", feature = "trajectory"))]
            Some(Modality::Image) => return self.image(look, Value::File(file)),
            #[cfg(feature = "audio")]
            Some(Modality::Audio) => return self.audio(look, Value::File(file)),
            Some(Modality::Text) => {
                let text = Value::File(file).into_text().map_err(|e| e.to_string())?;
                text::look(self, look, &text);
            }
            _ => {
                look.counts.holds = Holds::File;
                look.counts.measure("bytes", file.bytes.len() as f64);
                look.digest.update(&file.bytes);
            }
        }
        Ok(())
    }
}

impl Look {
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
            self.counts.range.add(*number);
            self.digest.update(number.to_le_bytes());
        }
        if self.counts.series {
            self.tokens(Ok(1));
        }
    }
}

/// Whether an array is the pixels of an image.
#[cfg(any(feature = "image", feature = "trajectory"))]
fn is_image(array: &Array) -> bool {
    matches!(array.numbers, Numbers::U8(_)) && matches!(array.shape[..], [_, _] | [_, _, 1 | 3])
}
