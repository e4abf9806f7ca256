//! Images: sizes, channels, patches.

use super::counts::{ValueType, same_size};
use super::value::{Readers, Slicing, ValueSummary};
use crate::modalities::image::{ImageConfig, ImageTokenizer};
use sha2::Digest;
use smalti_contract::{TokenizeError, Tokenizer, Value};

/// Default side of a patch, in pixels.
const PATCH_SIZE: usize = 4;

/// A tokenizer that counts the tokens of images of any size; its mean and deviation do not matter.
pub(super) fn reader(slicing: &Slicing) -> Result<ImageTokenizer, TokenizeError> {
    let any = ImageConfig::vit(3, slicing.patch_size.unwrap_or(PATCH_SIZE), [1, 1]);
    ImageTokenizer::new(ImageConfig {
        image_size: slicing.image_size,
        max_patches: [u32::MAX as usize; 2],
        ..any
    })
}

impl Readers {
    /// Summarizes an image. The frames of a series must have one size.
    pub(super) fn image(&self, summary: &mut ValueSummary, value: Value) -> Result<(), String> {
        summary.counts.holds = ValueType::Image;
        let image = self.image.read(value).map_err(|e| e.to_string())?;
        let size = [image.height, image.width];
        let first = *summary.counts.size.get_or_insert(size);
        if summary.counts.series {
            same_size(size, first)?;
        }
        let [height, width] = size;
        summary.counts.count("height_x_width", format!("{height}×{width}"));
        summary.counts.count("channels", image.channels.to_string());
        if !summary.counts.series {
            summary.counts.measure("height", height as f64);
            summary.counts.measure("width", width as f64);
        }
        summary.tokens(self.image.encode(&image).map(|tokens| tokens.len()).map_err(|e| e.to_string()));
        [height, width, image.channels].iter().for_each(|n| summary.digest.update(n.to_le_bytes()));
        summary.digest.update(&image.pixels);
        Ok(())
    }
}
