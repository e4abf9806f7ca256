//! Pixels and patches as the published Python pipeline (Pillow, transformers' ViT) makes them.

use safetensors::SafeTensors;
use smalti_contract::Tokenizer;
use smalti_image::{Image, ImageConfig, ImageTokenizer};

const PICTURES: [&str; 3] = ["gradient", "texture", "grey"];

fn golden(name: &str) -> Vec<u8> {
    let folder = std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN is the folder of reference outputs");
    std::fs::read(format!("{folder}/image/{name}")).unwrap()
}

fn expected(key: &str) -> Vec<f32> {
    let file = golden("expected.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let data = tensors.tensor(key).unwrap().data();
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Asserts features within one pixel value of the expected, 99% of them the very same.
fn same_pixels(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let apart = |(a, b): (&f32, &f32)| (a - b).abs() * 0.5 * 255.0; // in pixel values: std is 0.5
    let (mut other, mut worst) = (0, 0.0_f32);
    for distance in found.iter().zip(expected).map(apart) {
        other += usize::from(distance > 0.5);
        worst = worst.max(distance);
    }
    println!("{name}: {other} of {} pixel values differ, by at most {worst}", found.len());
    assert!(worst < 1.001, "{name}: {worst} pixel values apart");
    assert!(other * 100 <= found.len(), "{name}: {other} of {} differ", found.len());
}

fn picture(tokenizer: &ImageTokenizer, name: &str) -> Image {
    let file = golden(&format!("{name}.png"));
    let mut records = tokenizer.records(&file);
    let image = records.next().unwrap().unwrap();
    assert!(records.next().is_none());
    image
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn patches_are_those_of_vit() {
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(3, 16, [64, 64])).unwrap();
    for name in PICTURES {
        let tokens = tokenizer.encode(&picture(&tokenizer, name)).unwrap();
        assert_eq!(tokens.len(), 16);
        let expected = expected(&format!("vit_bilinear_patches16_hwc.{name}")); // [16, 768]
        same_pixels(name, tokens.groups[0].content.features().unwrap(), &expected);
    }
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn pixels_are_those_of_pillow() {
    // A patch of one pixel has the features of that pixel, so that tokens are pixels [64 * 64, 3].
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(3, 1, [64, 64])).unwrap();
    for name in PICTURES {
        let tokens = tokenizer.encode(&picture(&tokenizer, name)).unwrap();
        let pixels = tokens.groups[0].content.features().unwrap();
        let planes: Vec<f32> =
            (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect(); // [3, 64, 64]
        same_pixels(name, &planes, &expected(&format!("vit_bilinear.{name}")));
    }
}

#[test]
#[ignore = "needs SMALTI_GOLDEN"]
fn awkward_files_are_read() {
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(3, 16, [64, 64])).unwrap();
    for (name, width, height, channels) in [
        ("alpha.png", 100, 75, 3),
        ("grey16.png", 40, 30, 1),
        ("rotated_exif6.png", 75, 100, 3),
        ("photo.jpg", 100, 75, 3),
    ] {
        let file = golden(name);
        let image = tokenizer.records(&file).next().unwrap().unwrap();
        assert_eq!((image.width, image.height, image.channels), (width, height, channels), "{name}");
        assert_eq!(tokenizer.encode(&image).unwrap().len(), 16, "{name}");
    }
}
