//! Published settings, crops and native sizes.

use smalti_contract::{Tokenizer, testing::check};
use smalti_image::{Filter, Image, ImageConfig, ImageTokenizer, Preset, Resize};

fn image(width: usize, height: usize, channels: usize) -> Image {
    let pixels = (0..width * height * channels).map(|i| (i * 37 % 256) as u8).collect();
    Image::new(width, height, channels, pixels).unwrap()
}

fn samples() -> [Image; 4] {
    [image(100, 75, 3), image(28, 28, 1), image(30, 90, 3), image(300, 7, 1)]
}

fn tokenizer(config: ImageConfig) -> ImageTokenizer {
    ImageTokenizer::new(config).unwrap()
}

fn native(patches: usize, max_patches: [usize; 2]) -> ImageConfig {
    ImageConfig {
        image_size: None,
        resize: Resize::Native { patches },
        max_patches,
        ..ImageConfig::vit(3, 8, [8, 8])
    }
}

#[test]
fn every_preset_conforms_and_survives_json() {
    use Preset::{Cifar, Clip, Imagenet, Mnist, Vit};
    for (preset, tokens) in [(Vit, 196), (Clip, 196), (Imagenet, 196), (Cifar, 64), (Mnist, 49)] {
        let config = preset.config();
        assert_eq!(tokenizer(config.clone()).encode(&samples()[0]).unwrap().len(), tokens, "{preset:?}");
        check(&tokenizer(config.clone()), &samples()[..2]).unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ImageConfig>(&json).unwrap(), config);
    }
}

#[test]
fn crops_conform() {
    check(&tokenizer(ImageConfig::clip(8, 48)), &samples()).unwrap();
    check(&tokenizer(ImageConfig::imagenet(8, 56, 48)), &samples()).unwrap();
    let oblong = ImageConfig {
        image_size: Some([40, 56]),
        resize: Resize::Crop { shortest_edge: 56 },
        max_patches: [5, 7],
        ..ImageConfig::imagenet(8, 56, 56)
    };
    check(&tokenizer(oblong), &samples()).unwrap();
    let stretched = ImageConfig {
        resize: Resize::StretchCrop { size: [56, 64] },
        image_size: Some([40, 48]),
        max_patches: [5, 6],
        ..ImageConfig::imagenet(8, 56, 56)
    };
    check(&tokenizer(stretched), &samples()).unwrap();
}

/// A convolution without padding does not read the last rows and columns that do not fill a patch.
#[test]
fn a_stretched_image_is_trimmed() {
    let wide = image(60, 20, 3);
    let whole = ImageConfig { filter: Filter::Bicubic, ..ImageConfig::vit(3, 4, [36, 32]) };
    let trimmed = ImageConfig {
        patch_size: 14,
        resize: Resize::StretchTrim { size: [36, 32] },
        image_size: Some([28, 28]),
        max_patches: [2, 2],
        ..whole.clone()
    };
    check(&tokenizer(trimmed.clone()), &samples()).unwrap();
    let (whole, trimmed) = (tokenizer(whole), tokenizer(trimmed));
    let stretched = whole.prepare(&wide).unwrap().into_owned();
    let corner: Vec<u8> =
        (0..28).flat_map(|row| stretched.pixels[row * 32 * 3..][..28 * 3].to_vec()).collect();
    assert_eq!(trimmed.prepare(&wide).unwrap().pixels, corner);
    let small = ImageConfig { image_size: Some([42, 28]), max_patches: [3, 2], ..trimmed.config().clone() };
    let error = ImageTokenizer::new(small).err().unwrap().to_string();
    assert!(error.contains("resize.stretch_trim.size is 36×32 pixels"), "{error}");
}

/// DeiT stretches an image of any shape to a square, and cuts out the middle.
#[test]
fn a_stretched_image_is_cropped() {
    let wide = image(60, 20, 3);
    let whole = ImageConfig { filter: Filter::Bicubic, ..ImageConfig::vit(3, 4, [36, 36]) };
    let cropped = ImageConfig {
        resize: Resize::StretchCrop { size: [36, 36] },
        image_size: Some([28, 28]),
        max_patches: [7, 7],
        ..whole.clone()
    };
    let (whole, cropped) = (tokenizer(whole), tokenizer(cropped));
    let stretched = whole.prepare(&wide).unwrap().into_owned();
    let middle: Vec<u8> =
        (4..32).flat_map(|row| stretched.pixels[(row * 36 + 4) * 3..][..28 * 3].to_vec()).collect();
    assert_eq!(cropped.prepare(&wide).unwrap().pixels, middle);
    let small = ImageConfig { image_size: Some([40, 28]), max_patches: [10, 7], ..cropped.config().clone() };
    let error = ImageTokenizer::new(small).err().unwrap().to_string();
    assert!(error.contains("resize.stretch_crop.size is 36×36 pixels"), "{error}");
}

#[test]
fn the_cropped_border_is_decoded_as_the_mean() {
    let config = ImageConfig { filter: Filter::Nearest, ..ImageConfig::imagenet(4, 12, 8) };
    let tokenizer = tokenizer(config);
    let image = image(12, 12, 3);
    let back = tokenizer.decode(&tokenizer.encode(&image).unwrap()).unwrap();
    assert_eq!((back.height, back.width), (12, 12));
    let pixel =
        |image: &Image, row: usize, column: usize| image.pixels[(row * 12 + column) * 3..][..3].to_vec();
    assert_eq!(pixel(&back, 1, 6), [124, 116, 104], "ImageNet's mean of 0..=255");
    assert_eq!(pixel(&back, 2, 2), pixel(&image, 2, 2));
    assert_eq!(pixel(&back, 9, 9), pixel(&image, 9, 9));
    assert_eq!(pixel(&back, 10, 9), [124, 116, 104]);
}

#[test]
fn native_sizes_keep_the_aspect_ratio_and_the_budget() {
    let tokenizer = tokenizer(native(48, [16, 16]));
    let grid = |image: &Image| {
        let tokens = tokenizer.encode(image).unwrap();
        let last = &tokens.groups[0].positions[2 * (tokens.len() - 1)..];
        assert_eq!(tokens.len() as u32, (last[0] + 1) * (last[1] + 1));
        [last[0] + 1, last[1] + 1]
    };
    assert_eq!(grid(&image(100, 75, 3)), [6, 8]);
    assert_eq!(grid(&image(10, 10, 3)), [6, 6], "small images grow");
    assert_eq!(grid(&image(1000, 10, 1)), [1, 16], "no more than max_patches");
    assert_eq!(tokenizer.config().patches_of([75, 100]), [6, 8]);
    check(&tokenizer, &samples()).unwrap();
}

#[test]
fn invalid_resize_settings_are_errors() {
    let error_of = |config| ImageTokenizer::new(config).err().expect("an error").to_string();
    assert_eq!(
        error_of(ImageConfig::imagenet(16, 200, 224)),
        "image: resize.crop.shortest_edge is 200 pixels; it must be within 224..=64000000, from the longer side of image_size on"
    );
    assert_eq!(
        error_of(ImageConfig { image_size: None, ..ImageConfig::clip(16, 224) }),
        "image: resize is a crop; it needs an image_size"
    );
    assert_eq!(
        error_of(ImageConfig { resize: Resize::Native { patches: 9 }, ..ImageConfig::cifar(4) }),
        "image: resize is native and image_size is 32×32; set only one of them"
    );
    assert!(error_of(native(0, [9, 9])).contains("resize.native.patches is 0"));
}
