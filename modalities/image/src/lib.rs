//! Images as tokens: decoded, resized, normalised and cut into square patches, the input of vision transformers.
//!
//! A patch is one token. Its features are its pixels, `[patch_size, patch_size, num_channels]`; its position is its row
//! and column, so that images of any aspect ratio share the same two tables of position embeddings.
//!
//! ```
//! use smalti_contract::Tokenizer;
//! use smalti_image::{Image, ImageConfig, ImageTokenizer};
//!
//! # fn main() -> Result<(), smalti_contract::TokenizeError> {
//! // Grey images of 28×28 pixels as 7×7 patches of 4×4 pixels.
//! let tokenizer = ImageTokenizer::new(ImageConfig::vit(1, 4, [28, 28]))?;
//! let image = Image::new(28, 28, 1, (0..28 * 28).map(|i| (i % 251) as u8).collect())?;
//!
//! let tokens = tokenizer.encode(&image)?;
//! assert_eq!(tokens.len(), 49);
//! assert_eq!(tokens.groups[0].positions[2 * 8..][..2], [1, 1]); // patch 8 is in row 1, column 1
//! assert_eq!(tokenizer.decode(&tokens)?, image);
//! # Ok(())
//! # }
//! ```
//!
//! The parts: [`ImageTokenizer`] and its [`ImageConfig`], fitted from [`ImageSettings`] or published as a [`Preset`];
//! [`Image`], one image; [`read`], for PNG, JPEG, GIF, BMP, TIFF and WebP; [`Augment`], random augmentation, and
//! [`Blend`], mixup and cutmix; [`idx`] and [`cifar`], the file formats of MNIST and CIFAR-10; [`fit`], the mean and
//! standard deviation of a data set.

mod augment;
mod blend;
pub mod cifar;
mod config;
mod exif;
pub mod fit;
mod guess;
pub mod idx;
mod image;
mod jpeg;
mod normalise;
mod patches;
mod permute;
mod preset;
mod read;
mod resize;
mod settings;
mod shape;
mod tiff;
mod tokenizer;
mod write;

pub use augment::{Augment, Erase, Jitter, RandAugment, RandomCrop};
pub use blend::{Blend, Blending};
pub use config::ImageConfig;
pub use image::Image;
pub use jpeg::write_jpeg;
pub use preset::Preset;
pub use read::{MAX_PIXELS, read, read_over};
pub use resize::Filter;
pub use settings::ImageSettings;
pub use shape::Resize;
pub use tokenizer::ImageTokenizer;
pub use write::write_png;
