//! Readers return an image or an error for every damaged file.

mod tiffs;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use smalti_contract::{File, Tokenizer, Value};
use smalti_image::{ImageSettings, ImageTokenizer, cifar, idx, read, write_jpeg};
use smalti_mutation::{Bound, survives};
use std::io::Cursor;
use tiff::encoder::colortype::{ColorType, Gray8, RGB8, RGB16};
use tiff::encoder::{TiffEncoder, TiffValue};

#[global_allocator]
static ALLOCATOR: smalti_mutation::Counting = smalti_mutation::Counting;

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.into().write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A TIFF file of pixels of this type.
fn tiff_file<C: ColorType>(width: u32, height: u32, pixels: &[C::Inner]) -> Vec<u8>
where
    [C::Inner]: TiffValue,
{
    let mut file = Cursor::new(Vec::new());
    TiffEncoder::new(&mut file).unwrap().write_image::<C>(width, height, pixels).unwrap();
    file.into_inner()
}

fn colours() -> RgbImage {
    RgbImage::from_fn(40, 24, |x, y| [(x * 6) as u8, (y * 10) as u8, (x * y) as u8].into())
}

fn grey() -> GrayImage {
    GrayImage::from_fn(17, 9, |x, y| [(x * y) as u8].into())
}

fn transparent() -> RgbaImage {
    RgbaImage::from_fn(20, 12, |x, y| [x as u8, y as u8, 99, (x * 12) as u8].into())
}

/// A file of `tests/files`, in an encoding that this crate reads but does not write.
fn kept(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/files/{name}")).unwrap()
}

/// The bound: a small file may claim the maximal number of pixels, 64 million of up to 8 bytes each, which become three
/// bytes each.
fn images(format: ImageFormat, valid: Vec<Vec<u8>>) {
    survives(&format!("{format:?}"), &valid, Bound::bytes(1 << 30), read);
}

#[test]
fn png() {
    let deep = DynamicImage::ImageRgb8(colours()).into_rgba16();
    let valid = vec![
        file(colours(), ImageFormat::Png),
        file(grey(), ImageFormat::Png),
        file(transparent(), ImageFormat::Png),
        file(deep, ImageFormat::Png),
        kept("palette.png"),
    ];
    images(ImageFormat::Png, valid);
}

#[test]
fn jpeg() {
    let image = |image: &DynamicImage, channels| smalti_image::Image {
        width: image.width() as usize,
        height: image.height() as usize,
        channels,
        pixels: image.as_bytes().to_vec(),
    };
    let valid = vec![
        write_jpeg(&image(&colours().into(), 3), 90).unwrap(),
        write_jpeg(&image(&grey().into(), 1), 50).unwrap(),
        kept("progressive.jpg"),
        kept("cmyk.jpg"),
        kept("jpeg/420-restarts.jpg"),
        kept("jpeg/411.jpg"),
        kept("jpeg/arithmetic.jpg"),
        kept("jpeg/scan-each.jpg"),
        kept("jpeg/ycck.jpg"),
        kept("jpeg/orientation-7.jpg"),
        kept("jpeg/420.jpg").strip_suffix(b"\xff\xd9").unwrap().to_vec(),
    ];
    images(ImageFormat::Jpeg, valid);
}

#[test]
fn webp() {
    let valid = vec![
        file(colours(), ImageFormat::WebP),
        file(transparent(), ImageFormat::WebP),
        kept("lossy.webp"),
        kept("animated.webp"),
    ];
    images(ImageFormat::WebP, valid);
}

#[test]
fn gif() {
    let valid = vec![file(colours(), ImageFormat::Gif), file(transparent(), ImageFormat::Gif)];
    images(ImageFormat::Gif, valid);
}

#[test]
fn bmp() {
    let valid = vec![
        file(colours(), ImageFormat::Bmp),
        file(grey(), ImageFormat::Bmp),
        file(transparent(), ImageFormat::Bmp),
    ];
    images(ImageFormat::Bmp, valid);
}

#[test]
fn tiff() {
    let valid = vec![
        tiff_file::<RGB8>(40, 24, &colours()),
        tiff_file::<Gray8>(17, 9, &grey()),
        tiff_file::<RGB16>(40, 24, &DynamicImage::ImageRgb8(colours()).into_rgb16()),
        kept("lzw.tif"),
        kept("deflate.tif"),
    ];
    images(ImageFormat::Tiff, valid);
}

/// Headers alone, from which channels, sizes and patches are guessed.
#[test]
fn headers() {
    let valid = vec![
        file(transparent(), ImageFormat::Png),
        kept("palette.png"),
        kept("progressive.jpg"),
        kept("jpeg/orientation-7.jpg"),
        kept("cmyk.jpg"),
        kept("animated.webp"),
        file(colours(), ImageFormat::Gif),
        file(grey(), ImageFormat::Bmp),
        kept("lzw.tif"),
    ];
    survives("headers of images", &valid, Bound::bytes(1 << 30), |bytes| {
        let settings =
            ImageSettings { mean: Some(vec![0.5]), std: Some(vec![0.5]), ..ImageSettings::default() };
        let file = File { name: "image".into(), bytes: bytes.to_vec() };
        ImageTokenizer::fit(settings, None, &vec![Value::File(file)])
    });
}

/// Palettes, alpha, floats, packed bits and planes.
#[test]
fn tiff_of_science() {
    use tiffs::{
        BITS_PER_SAMPLE as BITS, COLOR_MAP, EXTRA_SAMPLES as EXTRA,
        PHOTOMETRIC_INTERPRETATION as PHOTOMETRIC, SAMPLE_FORMAT, SAMPLES_PER_PIXEL as SAMPLES, tiff,
    };
    let bytes: Vec<u8> = (0..=255).collect();
    let floats: Vec<u8> = (0..64).flat_map(|i| (i as f32 / 64.0).to_be_bytes()).collect();
    let colours: Vec<u16> = (0..768).map(|i| i * 85).collect();
    let valid = vec![
        tiff(true, [16, 16], &[(BITS, &[8]), (PHOTOMETRIC, &[3]), (COLOR_MAP, &colours)], &[&bytes]),
        tiff(false, [16, 31], &[(BITS, &[4]), (PHOTOMETRIC, &[3]), (COLOR_MAP, &colours[..48])], &[&bytes]),
        tiff(false, [8, 8], &[(BITS, &[32]), (PHOTOMETRIC, &[1]), (SAMPLE_FORMAT, &[3])], &[&floats]),
        tiff(
            true,
            [16, 8],
            &[(BITS, &[8; 2]), (PHOTOMETRIC, &[1]), (SAMPLES, &[2]), (EXTRA, &[2])],
            &[&bytes],
        ),
        tiff(
            true,
            [8, 8],
            &[(BITS, &[8; 4]), (PHOTOMETRIC, &[2]), (SAMPLES, &[4]), (EXTRA, &[1])],
            &[&bytes],
        ),
        tiff(
            true,
            [8, 16],
            &[(BITS, &[8; 2]), (PHOTOMETRIC, &[1]), (SAMPLES, &[2]), (EXTRA, &[1]), (284, &[2])],
            &[&bytes[..128], &bytes[128..]],
        ),
    ];
    images(ImageFormat::Tiff, valid);
}

#[test]
fn idx_of_images_and_of_labels() {
    let images = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5][..], &[7; 60]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 9][..], &[1; 9]].concat();
    let bound = Bound::bytes(1 << 16).and_of_file(100);
    survives("IDX images", &[images], bound, |bytes| idx::images(bytes).collect::<Result<Vec<_>, _>>());
    survives("IDX labels", &[labels], bound, idx::labels);
}

#[test]
fn cifar_batches() {
    let sample = |label: u8| std::iter::once(label).chain((0..3072).map(|i| i as u8)).collect::<Vec<_>>();
    let valid = [sample(3), [sample(0), sample(9)].concat()];
    survives("CIFAR-10", &valid, Bound::bytes(1 << 16).and_of_file(4), cifar::images);
}
