//! The image tokenizer keeps the contract, and its round trip is exact.

use smalti_contract::{Tokenizer, testing::check};
use smalti_image::{Augment, Image, ImageConfig, ImageTokenizer};

fn image(width: usize, height: usize, channels: usize) -> Image {
    let pixels = (0..width * height * channels).map(|i| (i * 37 % 256) as u8).collect();
    Image::new(width, height, channels, pixels).unwrap()
}

/// Images of their own size, in patches of 8×8.
fn free(channels: usize) -> ImageConfig {
    let (mean, std) = (vec![0.1307; channels], vec![0.3081; channels]);
    ImageConfig { image_size: None, max_patches: [4, 6], mean, std, ..ImageConfig::vit(channels, 8, [8, 8]) }
}

fn tokenizer(config: ImageConfig) -> ImageTokenizer {
    ImageTokenizer::new(config).unwrap()
}

#[test]
fn images_of_any_size_conform() {
    let samples = [image(28, 28, 1), image(100, 75, 3), image(1, 1, 1), image(5, 300, 3)];
    check(&tokenizer(ImageConfig::vit(3, 16, [64, 48])), &samples).unwrap();
    check(&tokenizer(ImageConfig::vit(1, 4, [28, 28])), &samples).unwrap();
}

#[test]
fn images_of_their_own_size_conform() {
    let samples = [image(48, 8, 3), image(8, 32, 1), image(16, 24, 3)];
    check(&tokenizer(free(3)), &samples).unwrap();
    check(&tokenizer(free(1)), &samples).unwrap();
}

#[test]
fn overlapping_patches_conform_and_survive_a_round_trip() {
    let samples = [image(32, 24, 3), image(28, 16, 1), image(4, 4, 3)];
    let free = ImageConfig { stride: Some(4), max_patches: [8, 8], ..free(3) };
    check(&tokenizer(free), &samples).unwrap();
    let sized = ImageConfig { stride: Some(5), max_patches: [6, 7], ..ImageConfig::vit(3, 8, [30, 34]) };
    check(&tokenizer(sized.clone()), &samples).unwrap();
    let odd = image(34, 30, 3);
    let tokens = tokenizer(sized.clone()).encode(&odd).unwrap();
    assert_eq!(tokens.len(), 6 * 7, "ceil(side / stride) along each side");
    assert_eq!(tokenizer(sized).decode(&tokens).unwrap(), odd);
}

#[test]
fn permuted_patches_conform_and_survive_a_round_trip() {
    let samples = [image(32, 24, 3), image(8, 16, 1), image(8, 8, 3)];
    check(&tokenizer(ImageConfig { permute: Some(5), ..free(3) }), &samples).unwrap();
    let plain = ImageConfig::vit(3, 8, [24, 32]);
    let permuted = tokenizer(ImageConfig { permute: Some(5), ..plain.clone() });
    let tokens = permuted.encode(&samples[0]).unwrap();
    let expected = tokenizer(plain).encode(&samples[0]).unwrap();
    assert_eq!(tokens.groups[0].positions, expected.groups[0].positions);
    assert_ne!(tokens.groups[0].content, expected.groups[0].content);
    assert_eq!(permuted.decode(&tokens).unwrap(), samples[0]);
}

#[test]
fn any_aspect_ratio_survives_a_round_trip() {
    let wide = image(48, 16, 3);
    let tokens = tokenizer(free(3)).encode(&wide).unwrap();
    assert_eq!(tokens.len(), 12);
    assert_eq!(tokens.groups[0].positions[2 * 7..][..2], [1, 1], "patch 7, with 6 patches in a row");
    assert_eq!(tokens.groups[0].time, (0..12).collect::<Vec<_>>());
    assert_eq!(tokenizer(free(3)).decode(&tokens).unwrap(), wide);
}

#[test]
fn augmented_images_have_the_input_size() {
    let augment = Augment { shift: 2.0, rotate: 10.0, scale: 0.1, flip: true, ..Augment::default() };
    let varied = tokenizer(ImageConfig { augment, ..ImageConfig::vit(3, 8, [32, 24]) });
    let raw = image(100, 75, 1);
    let one = varied.augment(raw.clone(), 1);
    assert_eq!((one.height, one.width, one.channels), (32, 24, 3));
    assert_eq!(varied.augment(raw.clone(), 1), one);
    assert_ne!(varied.augment(raw.clone(), 2), one);
    assert_eq!(varied.decode(&varied.encode(&one).unwrap()).unwrap(), one);
    assert_eq!(tokenizer(ImageConfig::vit(3, 8, [32, 24])).augment(raw.clone(), 1), raw, "off by default");
}

#[test]
fn the_configuration_is_read_from_json() {
    let json =
        r#"{"num_channels": 1, "patch_size": 8, "max_patches": [4, 6], "mean": [0.1307], "std": [0.3081]}"#;
    let config: ImageConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config, free(1));
    for wrong in [r#"{"shft": 1}"#, r#"{"shift": "far"}"#] {
        assert!(serde_json::from_str::<Augment>(wrong).is_err(), "{wrong}");
    }
}
