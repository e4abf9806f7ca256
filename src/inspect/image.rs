//! Images: sizes, channels, patches.

use super::look::{Holds, Look, Readers, Slicing};
use sha2::Digest;
use smalti_contract::{TokenizeError, Tokenizer, Value};
use smalti_image::{ImageConfig, ImageTokenizer};

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
        look.holds = Holds::Image;
        let image = self.image.read(value).map_err(|e| e.to_string())?;
        let size = [image.height, image.width];
        let first = *look.size.get_or_insert(size);
        if look.series && size != first {
            return Err(differs(size, first));
        }
        let [height, width] = size;
        look.count("height_x_width", format!("{height}×{width}"));
        look.count("channels", image.channels.to_string());
        if !look.series {
            look.measure("height", height as f64);
            look.measure("width", width as f64);
        }
        look.tokens(self.image.encode(&image).map(|tokens| tokens.len()).map_err(|e| e.to_string()));
        [height, width, image.channels].iter().for_each(|n| look.digest.update(n.to_le_bytes()));
        look.digest.update(&image.pixels);
        Ok(())
    }
}

/// What is wrong with a frame of another size than the others.
pub(super) fn differs([height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> String {
    format!("{height}×{width} pixels; expected {rows}×{columns}, as the other frames have")
}
