//! Errors of invalid images and settings name the expected and the actual value.

use smalti_contract::{Content, Group, TokenizeError, Tokenizer, Tokens};
use smalti_image::{Augment, Image, ImageConfig, ImageTokenizer};

fn eights() -> ImageConfig {
    ImageConfig { image_size: None, max_patches: [4, 4], ..ImageConfig::vit(1, 8, [8, 8]) }
}

fn eights_of(patch_size: usize) -> ImageConfig {
    ImageConfig { patch_size, ..eights() }
}

fn error_of(config: ImageConfig) -> String {
    ImageTokenizer::new(config).err().expect("an error").to_string()
}

fn encode(height: usize, width: usize) -> String {
    let image = Image { width, height, channels: 1, pixels: vec![0; height * width] };
    ImageTokenizer::new(eights()).unwrap().encode(&image).unwrap_err().to_string()
}

#[test]
fn sizes_that_do_not_fit_the_patches_are_errors() {
    let patches = "divisors of both are 1, 2: try patch_size=2; or resize every image in training: try image_size=[32,32]";
    assert_eq!(encode(30, 32), format!("patch_size 8 does not divide the image's 30×32 pixels; {patches}"));
    assert_eq!(encode(32, 30), format!("patch_size 8 does not divide the image's 32×30 pixels; {patches}"));
    assert_eq!(
        encode(31, 32),
        "patch_size 8 does not divide the image's 31×32 pixels; resize every image in training: try image_size=[32,32]"
    );
    let unfitted =
        |patch| ImageTokenizer::new(ImageConfig { max_patches: [usize::MAX; 2], ..eights_of(patch) });
    let photo = Image { width: 437, height: 469, channels: 1, pixels: vec![0; 437 * 469] };
    let advice = "resize every image in training: try image_size=[480,448] and: try patch_size=16";
    let error = unfitted(2).unwrap().encode(&photo).unwrap_err().to_string();
    assert!(error.ends_with(advice), "{error}");
    assert_eq!(encode(0, 32), "image is 0×32 pixels; both sides must be at least 1");
    assert_eq!(
        encode(32, 40),
        "image is 32×40 pixels, 4×5 patches; the model is for at most 32×32, 4×4 patches (max_patches): resize it, or \
         every image in training: try image_size=[32,32]"
    );
}

#[test]
fn invalid_images_are_errors() {
    let short = Image { width: 8, height: 8, channels: 1, pixels: vec![0; 63] };
    let two = Image { width: 8, height: 8, channels: 2, pixels: vec![0; 128] };
    let huge = Image { width: usize::MAX, height: 2, channels: 1, pixels: vec![0; 8] };
    let varied = Augment { shift: 1.0, ..Augment::default() };
    for image_size in [None, Some([16, 16])] {
        let tokenizer = ImageTokenizer::new(ImageConfig { image_size, augment: varied, ..eights() }).unwrap();
        for image in [&short, &two, &huge] {
            assert!(matches!(tokenizer.encode(image), Err(TokenizeError::Input(_))));
            assert_eq!(tokenizer.augment(image.clone(), 0), *image);
        }
    }
}

#[test]
fn invalid_settings_are_errors() {
    assert_eq!(
        error_of(ImageConfig::vit(2, 8, [8, 8])),
        "image: num_channels is 2; it must be 1 (grey) or 3 (RGB)"
    );
    assert_eq!(
        error_of(ImageConfig::vit(1, 0, [8, 8])),
        "image: patch_size is 0 pixels; it must be within 1..=4096"
    );
    assert_eq!(
        error_of(ImageConfig::vit(1, 8, [32, 30])),
        "image: image_size does not fit: patch_size 8 does not divide the image's 32×30 pixels; divisors of both are 1, \
         2: try patch_size=2; or resize every image in training: try image_size=[32,24]"
    );
    assert_eq!(
        error_of(ImageConfig { image_size: Some([32, 40]), ..eights() }),
        "image: image_size does not fit: image is 32×40 pixels, 4×5 patches; the model is for at most 32×32, 4×4 \
         patches (max_patches): resize it, or every image in training: try image_size=[32,32]"
    );
    assert_eq!(
        error_of(ImageConfig { stride: Some(9), ..eights() }),
        "image: stride is 9 pixels; it must be within 1..=8, the patch_size"
    );
    assert!(error_of(ImageConfig { stride: Some(0), ..eights() }).contains("stride is 0"));
    assert_eq!(
        error_of(ImageConfig { stride: Some(4), ..ImageConfig::vit(1, 8, [32, 30]) }),
        "image: image_size does not fit: image is 32×30 pixels, 8×8 patches; the model is for at most 16×12, 4×3 \
         patches (max_patches): resize it, or every image in training: try image_size=[16,12]"
    );
    let everywhere =
        ImageConfig { stride: Some(1), max_patches: [900; 2], ..ImageConfig::vit(1, 800, [800, 800]) };
    assert_eq!(
        error_of(everywhere),
        "image: image_size does not fit: image of 800×800 pixels in patches of 800 every 1 has more than 200000000 features"
    );
    assert_eq!(
        error_of(ImageConfig { max_patches: [4, 0], ..eights() }),
        "image: max_patches is 4×0; both must be at least 1"
    );
    assert_eq!(
        error_of(ImageConfig::vit(1, 4, [8000, 8004])),
        "image: image_size is 8000×8004 pixels; at most 64000000 pixels are allowed"
    );
    assert!(error_of(ImageConfig::vit(1, 8, [usize::MAX - 7, 8])).contains("at most 64000000"));
    assert!(error_of(ImageConfig::vit(1, 8, [0, 8])).contains("at least 1"));
}

#[test]
fn invalid_normalisations_are_errors() {
    let of =
        |mean: &[f32], std: &[f32]| error_of(ImageConfig { mean: mean.into(), std: std.into(), ..eights() });
    assert_eq!(of(&[0.5; 3], &[0.5]), "image: mean has 3 values; it must have one for each of 1 channels");
    assert_eq!(of(&[0.5], &[]), "image: std has 0 values; it must have one for each of 1 channels");
    assert_eq!(of(&[127.5], &[0.5]), "image: mean 127.5 must be within 0..=1, as pixels are");
    assert_eq!(of(&[0.5], &[0.0]), "image: std 0 must be within 1e-6..=1, of pixels in 0..=1");
    assert!(of(&[f32::NAN], &[0.5]).contains("NaN"));
    assert!(of(&[0.5], &[f32::INFINITY]).contains("inf"));
}

#[test]
fn invalid_augmentations_are_errors() {
    let of = |augment| error_of(ImageConfig { augment, ..eights() });
    let off = Augment::default();
    assert_eq!(of(Augment { scale: 1.0, ..off }), "image: augment.scale is 1; it must be within 0..=0.9");
    assert_eq!(
        of(Augment { rotate: 181.0, ..off }),
        "image: augment.rotate is 181; it must be within 0..=180"
    );
    assert!(of(Augment { shift: f32::NAN, ..off }).contains("augment.shift is NaN"));
    assert!(of(Augment { shift: -1.0, ..off }).contains("augment.shift is -1"));
}

#[test]
fn tokens_of_another_kind_are_errors() {
    let tokenizer = ImageTokenizer::new(eights()).unwrap();
    let group = |dim, values, positions| {
        let content = Content::Features { values, dim };
        Tokens::new(vec![Group { positions, ..Group::sequence(content) }])
    };
    let ids = Tokens::new(vec![Group::sequence(Content::Ids(vec![1, 2]))]);
    let narrow = group(3, vec![0.0; 3], vec![0, 0]);
    let not_numbers = group(64, vec![f32::NAN; 64], vec![0, 0]);
    let outside = group(64, vec![0.0; 64], vec![0, 4]);
    for tokens in [Tokens::default(), ids, narrow, not_numbers, outside] {
        assert!(matches!(tokenizer.decode(&tokens), Err(TokenizeError::Spec(_))));
    }
    let error = tokenizer.decode(&group(64, vec![0.0; 128], vec![0, 0, 1, 1])).unwrap_err();
    assert_eq!(error.to_string(), "2 patches do not fill a grid of 2×2");
    assert!(matches!(tokenizer.decode(&group(64, vec![], vec![])), Err(TokenizeError::Input(_))));
}
