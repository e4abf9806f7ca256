//! Comparison with published Python pipelines (Pillow, transformers): every key of `expected.safetensors` in the folder
//! of reference outputs, for the images in that folder.

use safetensors::{SafeTensors, tensor::TensorView};
use smalti_contract::Tokenizer;
use smalti_image::{Image, ImageConfig, ImageTokenizer, read, read_over};
use std::path::{Path, PathBuf};

/// The folder of reference outputs for images.
fn folder() -> PathBuf {
    let folder = std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN is the folder of reference outputs");
    Path::new(&folder).join("image")
}

/// The bytes of the image with this name and any extension.
fn image(name: &str) -> Vec<u8> {
    let mut files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.file_stem().is_some_and(|stem| stem == name));
    std::fs::read(file.unwrap_or_else(|| panic!("there is no image {name}"))).unwrap()
}

/// The settings of a key's values, by its prefix.
struct Expected {
    config: ImageConfig,
    /// Patches `[n, features]`, or planes `[channels, height, width]`.
    patches: bool,
}

/// # Panics
/// For an unknown prefix.
fn expected(prefix: &str, shape: &[usize]) -> Expected {
    let planes = |config: &dyn Fn([usize; 2]) -> ImageConfig| match *shape {
        [3, height, width] => Expected { config: config([height, width]), patches: false },
        _ => panic!("{prefix} is {shape:?}; expected [3, height, width]"),
    };
    match prefix {
        // A patch of one pixel has the features of that pixel, so tokens are pixels.
        "vit_bilinear" => planes(&|size| ImageConfig::vit(3, 1, size)),
        "clip_bicubic_crop" => planes(&|[side, _]| ImageConfig::clip(1, side)),
        "vit_bilinear_patches16_hwc" => {
            assert_eq!(shape[1], 16 * 16 * 3, "{prefix} is {shape:?}");
            let side = 16 * shape[0].isqrt();
            Expected { config: ImageConfig::vit(3, 16, [side, side]), patches: true }
        }
        _ => panic!("unknown prefix {prefix}: add its settings here"),
    }
}

/// Assert that features are within one pixel value of the expected ones, 99% of them equal.
fn same_pixels(key: &str, found: &[f32], expected: &TensorView, std: impl Fn(usize) -> f32) {
    let expected = expected.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    assert_eq!(found.len(), expected.len(), "{key}");
    let (mut other, mut worst) = (0, 0.0_f32);
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let apart = (a - b).abs() * std(i) * 255.0; // in pixel values
        other += usize::from(apart > 0.5);
        worst = worst.max(apart);
    }
    println!("{key}: {other} of {} pixel values differ, by at most {worst:.5}", found.len());
    assert!(worst < 1.001, "{key}: {worst} pixel values apart");
    assert!(other * 100 <= found.len(), "{key}: {other} of {} differ", found.len());
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn every_value_matches_the_reference() {
    let file = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    assert!(tensors.len() >= 9, "{} keys", tensors.len());
    for (key, view) in tensors.iter() {
        let (prefix, name) = key.split_once('.').unwrap_or_else(|| panic!("{key} is not PREFIX.NAME"));
        let Expected { config, patches } = expected(prefix, view.shape());
        let tokenizer = ImageTokenizer::new(config).unwrap();
        let tokens = tokenizer.encode(&read(&image(name)).unwrap()).unwrap();
        let features = tokens.groups[0].content.features().unwrap();
        let std = &tokenizer.config().std;
        if patches {
            same_pixels(key, features, &view, |i| std[i % 3]);
        } else {
            let plane = features.len() / 3;
            let planes: Vec<f32> =
                (0..3).flat_map(|channel| features.iter().skip(channel).step_by(3).copied()).collect();
            same_pixels(key, &planes, &view, |i| std[i / plane]);
        }
    }
}

fn awkward(name: &str) -> Image {
    read(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}
/// The sum of each channel.
fn sums(image: &Image) -> [u64; 3] {
    let of = |channel| image.pixels.iter().skip(channel).step_by(image.channels).map(|&v| u64::from(v)).sum();
    [of(0), of(1), of(2)]
}

/// `Image.alpha_composite` over white and over (10, 120, 230), Pillow 13.
#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn transparency_matches_pillow() {
    let image = awkward("alpha.png");
    assert_eq!((image.width, image.height, image.channels), (100, 75, 3));
    assert_eq!(sums(&image), [1_247_360, 1_236_000, 1_232_196]);
    assert_eq!(image.pixels[(40 * 100 + 50) * 3..][..3], [125, 132, 125]);
    let file = std::fs::read(folder().join("alpha.png")).unwrap();
    assert_eq!(sums(&read_over(&file, [10, 120, 230]).unwrap()), [652_870, 908_400, 1_171_488]);
}

/// Pillow opens the file as `I;16`, whose conversion to 8 bits clips everything above 255. The expected values are
/// `(value * 255 + 32767) // 65535`.
#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn sixteen_bits_are_scaled_to_eight() {
    let image = awkward("grey16.png");
    assert_eq!((image.width, image.height, image.channels), (40, 30, 1));
    let sum: u64 = image.pixels.iter().map(|&value| u64::from(value)).sum();
    assert_eq!((sum, &image.pixels[..5]), (152_998, &[0, 0, 0, 1, 1][..]));
}

/// `ImageOps.exif_transpose`, Pillow 13.
#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn exif_orientation_matches_pillow() {
    let image = awkward("rotated_exif6.png");
    assert_eq!((image.width, image.height, image.channels), (75, 100, 3));
    let weighted = image.pixels.iter().enumerate().map(|(i, &value)| {
        let (row, column, channel) = (i / 225, i / 3 % 75, i % 3);
        u64::from(value) * ((row * 3 + column * 7 + channel) % 101) as u64
    });
    assert_eq!(weighted.sum::<u64>(), 137_424_376);
    assert_eq!(image.pixels[74 * 3..][..3], [0, 0, 0]);
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn a_photo_matches_pillow() {
    let image = awkward("photo.jpg");
    assert_eq!((image.width, image.height, image.channels), (100, 75, 3));
    assert_eq!(sums(&image), [926_139, 912_631, 904_632]);
}
