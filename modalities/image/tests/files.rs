//! Image files: decoding of every format, and robustness to corrupt files.

use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, GrayAlphaImage, ImageBuffer, ImageEncoder, ImageFormat, Luma, RgbImage, RgbaImage,
};
use proptest::prelude::*;
use smalti_contract::{TokenizeError, Tokenizer};
use smalti_image::{Image, ImageConfig, ImageTokenizer, read, read_over, write_jpeg};
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;
use tiff::encoder::colortype::{ColorType, RGB8};
use tiff::encoder::{TiffEncoder, TiffValue};

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

/// [`gradient`] as a JPEG.
fn jpeg() -> Vec<u8> {
    let (width, height, pixels) = (gradient().width(), gradient().height(), gradient().into_raw());
    write_jpeg(&Image::new(width as usize, height as usize, 3, pixels).unwrap(), 90).unwrap()
}

fn gradient() -> RgbImage {
    RgbImage::from_fn(20, 10, |x, y| [x as u8 * 12, y as u8 * 25, 99].into())
}

/// One valid file of each format.
static FILES: LazyLock<Vec<(ImageFormat, Vec<u8>)>> = LazyLock::new(|| {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let others = [Png, Gif, Bmp, WebP].map(|format| (format, file(gradient(), format)));
    let tiff = tiff_file::<RGB8>(gradient().width(), gradient().height(), &gradient());
    [(Jpeg, jpeg()), (Tiff, tiff)].into_iter().chain(others).collect()
});

fn tokenizer() -> ImageTokenizer {
    ImageTokenizer::new(ImageConfig::vit(3, 8, [16, 16])).unwrap()
}

fn problem(bytes: &[u8]) -> String {
    match read(bytes) {
        Err(error @ TokenizeError::Format { .. }) => error.to_string(),
        other => panic!("{other:?} is no format error"),
    }
}

#[test]
fn every_format_is_read() {
    for (format, file) in FILES.iter() {
        let image = read(file).unwrap_or_else(|error| panic!("{format:?}: {error}"));
        assert_eq!((image.width, image.height, image.channels), (20, 10, 3), "{format:?}");
        let lossy = matches!(format, ImageFormat::Jpeg | ImageFormat::Gif);
        let worst = image.pixels.iter().zip(gradient().as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(if lossy { 40 } else { 0 }), "{format:?} is {worst:?} off");
    }
}

/// One image in encodings that this crate reads but does not write (`tests/files`), with the sum of each channel as
/// read by Pillow 13; for lossy WebP to one value for each pixel.
#[test]
fn other_encodings_match_pillow() {
    for (name, expected, off) in [
        ("animated.webp", [112_320, 110_400, 95_472], 0),
        ("lzw.tif", [112_320, 110_400, 95_472], 0),
        ("deflate.tif", [112_320, 110_400, 95_472], 0),
        ("palette.png", [112_080, 105_725, 93_561], 0),
        ("lossy.webp", [112_181, 110_686, 95_098], 960),
        ("progressive.jpg", [112_389, 110_182, 95_830], 0),
        ("cmyk.jpg", [112_152, 110_080, 95_247], 0),
    ] {
        let file = std::fs::read(format!("tests/files/{name}")).unwrap();
        let image = read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((image.width, image.height, image.channels), (40, 24, 3), "{name}");
        for (channel, expected) in expected.into_iter().enumerate() {
            let values = image.pixels.iter().skip(channel).step_by(3);
            let sum: i64 = values.map(|&value| i64::from(value)).sum();
            assert!(
                (sum - expected).abs() <= off,
                "{name}, channel {channel}: {sum}; Pillow's is {expected}"
            );
        }
    }
}

/// For every type of JPEG (`tests/files/jpeg`, written by `make.py` there), each value equals that of Pillow 13.
#[test]
fn jpegs_match_pillow_in_every_value() {
    let files = std::fs::read_dir("tests/files/jpeg").unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "jpg")).collect();
    assert_eq!(files.len(), 33);
    for path in files {
        let read = |path: &Path| read(&std::fs::read(path).unwrap());
        let found = read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = read(&path.with_extension("png")).unwrap();
        let shape = |image: &Image| (image.width, image.height, image.channels);
        assert_eq!(shape(&found), shape(&expected), "{}", path.display());
        let values = found.pixels.iter().zip(&expected.pixels);
        assert_eq!(values.filter(|(a, b)| a != b).count(), 0, "values of {}", path.display());
    }
}

#[test]
fn unsupported_jpegs_are_errors() {
    let good = jpeg();
    let frame = good.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let mut deep = good.clone();
    deep[frame + 4] = 12;
    assert!(problem(&deep).contains("3 components of 12 bits; 1, 3 or 4"), "{}", problem(&deep));
    let mut odd = good.clone();
    odd[frame + 11] = 0x11;
    odd[frame + 14] = 0x22;
    assert!(problem(&odd).contains("[(1, 1), (2, 2), (1, 1)]; luma must be the finest"), "{}", problem(&odd));
}

#[test]
fn the_default_background_is_white() {
    let rgba = RgbaImage::from_raw(3, 1, vec![9, 9, 9, 0, 0, 100, 200, 255, 0, 0, 0, 128]).unwrap();
    let image = read(&file(rgba, ImageFormat::Png)).unwrap();
    assert_eq!((image.channels, image.pixels), (3, vec![255, 255, 255, 0, 100, 200, 127, 127, 127]));
    let grey = GrayAlphaImage::from_raw(2, 1, vec![50, 0, 50, 255]).unwrap();
    let image = read(&file(grey, ImageFormat::Png)).unwrap();
    assert_eq!((image.channels, image.pixels), (1, vec![255, 50]));
}

#[test]
fn the_background_can_be_set() {
    let grey = file(GrayAlphaImage::from_raw(2, 1, vec![50, 0, 50, 255]).unwrap(), ImageFormat::Png);
    let over = |background| read_over(&grey, background).map(|image| (image.channels, image.pixels));
    assert_eq!(over([9; 3]).unwrap(), (1, vec![9, 50]));
    assert_eq!(
        over([1, 2, 3]).unwrap(),
        (3, vec![1, 2, 3, 50, 50, 50]),
        "a coloured background needs colour"
    );
    let config = ImageConfig { background: [0, 0, 0], ..ImageConfig::vit(1, 1, [1, 2]) };
    let image = ImageTokenizer::new(config).unwrap().raw_inputs(&grey).next().unwrap().unwrap();
    assert_eq!(image.pixels, [0, 50]);
}

#[test]
fn sixteen_bits_become_eight() {
    let deep = ImageBuffer::<Luma<u16>, _>::from_raw(4, 1, vec![0, 257, 0x8000, 0xffff]).unwrap();
    let image = read(&file(deep, ImageFormat::Png)).unwrap();
    assert_eq!((image.channels, image.pixels), (1, vec![0, 1, 128, 255]));
}

#[test]
fn truncated_files_are_errors() {
    for (format, file) in FILES.iter() {
        for part in [2, 4, 8] {
            let cut = &file[..file.len() - file.len() / part];
            assert!(read(cut).is_err(), "{format:?} without its last 1/{part}");
        }
    }
}

#[test]
fn files_that_are_no_images_are_errors() {
    assert_eq!(problem(b""), "not readable as image: the file is empty");
    let unknown = "not readable as image: unknown format; PNG, JPEG, GIF, BMP, TIFF, WebP and IDX are known";
    assert_eq!(problem(b"To be, or not to be"), unknown);
    assert!(problem(b"RIFF\x24\0\0\0WAVEfmt ").contains("it is an audio clip (WAV, "));
    assert!(tokenizer().raw_inputs(b"").next().unwrap().is_err());
}

#[test]
fn too_many_pixels_in_the_header_are_an_error() {
    let mut bomb = file(RgbImage::new(1, 1), ImageFormat::Bmp);
    bomb[18..22].copy_from_slice(&20_000_u32.to_le_bytes());
    bomb[22..26].copy_from_slice(&20_000_u32.to_le_bytes());
    assert_eq!(problem(&bomb), "not readable as image: 20000×20000 pixels; at most 64000000 are read");
    // A small JPEG whose header claims 5,000 by 5,000: that many blocks do not fit into its bytes.
    let mut jpeg = jpeg();
    let size = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap() + 5;
    jpeg[size..size + 4].copy_from_slice(&[0x13, 0x88, 0x13, 0x88]);
    assert!(problem(&jpeg).contains("5000×5000 pixels in"), "{}", problem(&jpeg));
    // Zeros: 90 million grey pixels in under 100 kB.
    let png = file(DynamicImage::new_luma8(9000, 10_000), ImageFormat::Png);
    assert!(problem(&png).contains("10000×9000 pixels; at most 64000000"), "{} bytes", png.len());
}

/// EXIF data of one entry: orientation (0x0112) 6, rotate by 90° clockwise; as one SHORT and, as some cameras write it, one
/// LONG.
const ROTATED: [&[u8]; 4] = [
    b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0",
    b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
    b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
];

#[test]
fn exif_orientation_is_applied() {
    let jpeg = jpeg();
    let xmp = b"\xff\xe1\0\x23http://ns.adobe.com/xap/1.0/\0<x/>";
    for exif in ROTATED {
        let length = (exif.len() as u16 + 8).to_be_bytes();
        let exif = [&[0xff, 0xe1][..], &length, b"Exif\0\0", exif].concat();
        let upright = read(&jpeg).unwrap();
        for rotated in
            [[&jpeg[..2], &exif, &jpeg[2..]].concat(), [&jpeg[..2], xmp, &exif, &jpeg[2..]].concat()]
        {
            let image = read(&rotated).unwrap();
            assert_eq!((image.width, image.height), (10, 20));
            assert_eq!(image.pixels[9 * 3..][..3], upright.pixels[..3], "top left goes to top right");
        }
    }
}

#[test]
fn the_orientation_of_a_png_is_applied() {
    for exif in ROTATED {
        let mut file = Vec::new();
        let mut encoder = PngEncoder::new(&mut file);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(gradient().as_raw(), 20, 10, image::ExtendedColorType::Rgb8).unwrap();
        let image = read(&file).unwrap();
        assert_eq!((image.width, image.height), (10, 20));
        assert_eq!(image.pixels[9 * 3..][..3], gradient().as_raw()[..3], "top left goes to top right");
    }
}

/// Cameras append data of their own to a JPEG; some of them leave out the end marker.
#[test]
fn jpegs_with_other_data_after_the_image_are_read() {
    let trailer = b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1500000000000SEFHe\0\0\0SEFT";
    let grey = Image::new(20, 10, 1, (0..200).collect()).unwrap();
    let single = std::fs::read("tests/files/jpeg/420-restarts.jpg").unwrap();
    for whole in [jpeg(), write_jpeg(&grey, 80).unwrap(), single] {
        let image = read(&whole).unwrap();
        let without_end = &whole[..whole.len() - 2];
        for file in [without_end, &[without_end, trailer].concat(), &[&whole[..], trailer].concat()] {
            assert_eq!(read(file).unwrap(), image, "{} of {} bytes", file.len(), whole.len());
        }
        for length in 0..without_end.len() {
            // The last bits may be no more than padding.
            match read(&whole[..length]) {
                Ok(found) => assert!(found == image && length + 1 == without_end.len(), "{length}"),
                Err(error) => assert!(length < 20 || error.to_string().contains("truncated"), "{error}"),
            }
        }
    }
    for name in ["420-progressive", "scan-each", "arithmetic"] {
        let whole = std::fs::read(format!("tests/files/jpeg/{name}.jpg")).unwrap();
        let file = [&whole[..whole.len() - 2], trailer].concat();
        assert!(
            problem(&file).contains("no end marker; the file is truncated"),
            "{name}: {}",
            problem(&file)
        );
    }
}

/// Any file is read or gives an error, and any image that is read can be tokenized.
fn survives(file: &[u8]) {
    for image in tokenizer().raw_inputs(file).flatten() {
        let Image { width, height, channels, ref pixels } = image;
        assert_eq!(pixels.len(), width * height * channels);
        tokenizer().encode(&image).unwrap();
    }
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(magic in 0..7_usize, rest in any::<Vec<u8>>()) {
        let file = FILES.get(magic).map_or(&[0, 0, 8, 3][..], |(_, file)| &file[..8]);
        survives(&rest);
        survives(&[file, &rest].concat());
    }

    #[test]
    fn mutated_files_do_not_panic(
        which in 0..6_usize,
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut file = FILES[which].1.clone();
        changes.iter().for_each(|(at, value)| file[at.index(FILES[which].1.len())] = *value);
        survives(&file);
        survives(&file[..cut.index(file.len())]);
    }
}
