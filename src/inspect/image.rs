//! Images: sizes, channels, patches.

use super::counts::{Holds, same_size};
use super::look::{Look, Readers, Slicing};
use crate::modalities::image::{ImageConfig, ImageTokenizer};
use sha2::Digest;
use smalti_contract::{TokenizeError, Tokenizer, Value};

/// The side of a patch unless it is set, in pixels.
const PATCH_SIZE: usize = 4;

/// A tokenizer that gives images of any size their number of tokens; what it is fitted to does not count.
pub(super) fn reader(slicing: &Slicing) -> Result<ImageTokenizer, TokenizeError> {
    let any = ImageConfig::vit(3, slicing.patch_size.unwrap_or(PATCH_SIZE), [1, 1]);
    ImageTokenizer::new(ImageConfig { size: slicing.image_size, max_patches: [u32::MAX as usize; 2], ..any })
}

impl Readers {
    /// An image. The frames of a series are all of one size.
    pub(super) fn image(&self, look: &mut Look, value: Value) -> Result<(), String> {
        look.counts.holds = Holds::Image;
        let image = self.image.read(value).map_err(|e| e.to_string())?;
        let size = [image.height, image.width];
        let first = *look.counts.size.get_or_insert(size);
        if look.counts.series {
            same_size(size, first)?;
        }
        let [height, width] = size;
        look.counts.count("height_x_width", format!("{height}×{width}"));
        look.counts.count("channels", image.channels.to_string());
        if !look.counts.series {
            look.counts.measure("height", height as f64);
            look.counts.measure("width", width as f64);
        }
        look.tokens(self.image.encode(&image).map(|tokens| tokens.len()).map_err(|e| e.to_string()));
        [height, width, image.channels].iter().for_each(|n| look.digest.update(n.to_le_bytes()));
        look.digest.update(&image.pixels);
        Ok(())
    }
}
