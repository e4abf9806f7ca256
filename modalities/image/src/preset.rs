//! Settings of published models.

use crate::{Filter, ImageConfig, Resize};
use serde::{Deserialize, Serialize};

/// The image preprocessing of a published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The vision transformers' (`google/vit-base-patch16-224`): [`ImageConfig::vit`] of 224×224 in patches of 16.
    Vit,
    /// CLIP's (`openai/clip-vit-base-patch16`): [`ImageConfig::clip`] of 224×224 in patches of 16.
    Clip,
    /// Torchvision's for evaluation on ImageNet: [`ImageConfig::imagenet`] of 256, 224×224, in patches of 16.
    Imagenet,
    /// CIFAR-10: 32×32 in patches of 4.
    Cifar,
    /// MNIST: grey, 28×28, in patches of 4.
    Mnist,
}

impl Preset {
    /// The preset's configuration, without augmentation.
    pub fn config(self) -> ImageConfig {
        match self {
            Preset::Vit => ImageConfig::vit(3, 16, [224, 224]),
            Preset::Clip => ImageConfig::clip(16, 224),
            Preset::Imagenet => ImageConfig::imagenet(16, 256, 224),
            Preset::Cifar => ImageConfig::cifar(4),
            Preset::Mnist => ImageConfig::mnist(4),
        }
    }
}

impl ImageConfig {
    /// Resize to `[height, width]`, bilinear, and scale to -1..=1 (mean and standard deviation 0.5), as the published
    /// vision transformers do.
    pub fn vit(channels: usize, patch: usize, size: [usize; 2]) -> Self {
        Self::sized(patch, size, &vec![0.5; channels], &vec![0.5; channels])
    }

    /// Resize the shorter side to `side`, bicubic, and crop the centre square; CLIP's mean and deviation.
    pub fn clip(patch: usize, side: usize) -> Self {
        let (mean, std) =
            ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
        Self {
            resize: Resize::Crop { shortest_edge: side },
            filter: Filter::Bicubic,
            ..Self::sized(patch, [side, side], &mean, &std)
        }
    }

    /// Resize the shorter side to `shortest_edge`, bilinear, and crop the centre square of `side`; ImageNet's mean and
    /// deviation.
    pub fn imagenet(patch: usize, shortest_edge: usize, side: usize) -> Self {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        Self { resize: Resize::Crop { shortest_edge }, ..Self::sized(patch, [side, side], &mean, &std) }
    }

    /// Images of 32×32; CIFAR-10's mean and deviation.
    pub fn cifar(patch: usize) -> Self {
        Self::sized(patch, [32, 32], &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616])
    }

    /// Grey images of 28×28; MNIST's mean and deviation.
    pub fn mnist(patch: usize) -> Self {
        Self::sized(patch, [28, 28], &[0.1307], &[0.3081])
    }

    fn sized(patch: usize, size: [usize; 2], mean: &[f32], std: &[f32]) -> Self {
        Self {
            num_channels: mean.len(),
            patch_size: patch,
            stride: None,
            image_size: Some(size),
            resize: Resize::Stretch,
            filter: Filter::Bilinear,
            background: WHITE,
            permute: None,
            max_patches: size.map(|side| side.checked_div(patch).unwrap_or(0)),
            mean: mean.into(),
            std: std.into(),
            augment: Default::default(),
            blend: Default::default(),
        }
    }
}

/// The default background of transparent pixels.
pub(crate) const WHITE: [u8; 3] = [255; 3];
