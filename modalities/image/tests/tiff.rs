//! TIFF files of science and of maps. The values are those of Pillow 13, unless a formula is given.

mod tiffs;

use smalti_image::{Image, read, read_over};
use tiffs::{
    BITS_PER_SAMPLE, COLOR_MAP, COMPRESSION, EXTRA_SAMPLES, PHOTOMETRIC_INTERPRETATION, SAMPLE_FORMAT,
    SAMPLES_PER_PIXEL, tiff,
};

const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const CMYK: u16 = 5;
const FLOAT: u16 = 3;
const ASSOCIATED: u16 = 1;
const STRAIGHT: u16 = 2;

/// A file in little-endian and in big-endian byte order, with this photometric interpretation, these bits of each sample,
/// and more entries.
fn file(
    size: [u16; 2],
    photometric: u16,
    bits: &[u16],
    more: &[(u16, &[u16])],
    pixels: &[u8],
) -> [Vec<u8>; 2] {
    let samples = [bits.len() as u16];
    let photometric = [photometric];
    let common: [(u16, &[u16]); 3] =
        [(BITS_PER_SAMPLE, bits), (PHOTOMETRIC_INTERPRETATION, &photometric), (SAMPLES_PER_PIXEL, &samples)];
    let entries = [&common[..], more].concat();
    [true, false].map(|little_endian| tiff(little_endian, size, &entries, &[pixels]))
}

/// The channels and pixels of a file whose samples have at most 8 bits: the byte order makes no difference.
fn pixels([little_endian, big_endian]: [Vec<u8>; 2]) -> (usize, Vec<u8>) {
    let image = read(&little_endian).unwrap();
    assert_eq!(read(&big_endian).unwrap(), image);
    (image.channels, image.pixels)
}

fn problem(file: &[u8]) -> String {
    read(file).expect_err("expected an error").to_string()
}

fn floats(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let [little_endian, _] =
        file([1, values.len() as u16], BLACK_IS_ZERO, &[32], &[(SAMPLE_FORMAT, &[FLOAT])], &bytes);
    little_endian
}

#[test]
fn floats_of_0_to_1_are_black_to_white() {
    let expected: Vec<u8> = (0..32).map(|k| (255.0 * f64::from(k) / 31.0).round() as u8).collect();
    let values: Vec<f64> = (0..32).map(|k| f64::from(k) / 31.0).collect();
    let grey: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let image = read(&floats(&grey)).unwrap();
    assert_eq!((image.channels, &image.pixels), (1, &expected));

    let doubles =
        |bytes: fn(f64) -> [u8; 8]| values.iter().flat_map(|value| bytes(*value)).collect::<Vec<u8>>();
    for (order, bytes) in [doubles(f64::to_le_bytes), doubles(f64::to_be_bytes)].iter().enumerate() {
        let double = file([1, 32], BLACK_IS_ZERO, &[64], &[(SAMPLE_FORMAT, &[FLOAT])], bytes);
        assert_eq!(read(&double[order]).unwrap().pixels, expected);
    }
    // 0, 0.5 and 1 in 16 bits.
    let halves = [0x0000_u16, 0x3800, 0x3c00].map(u16::to_le_bytes);
    let [halves, _] = file([1, 3], BLACK_IS_ZERO, &[16], &[(SAMPLE_FORMAT, &[FLOAT])], halves.as_flattened());
    assert_eq!(read(&halves).unwrap().pixels, [0, 128, 255]);
    let colours: Vec<u8> = [0.0_f32, 0.2, 1.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let [colours, _] = file([1, 1], RGB, &[32; 3], &[(SAMPLE_FORMAT, &[FLOAT; 3])], &colours);
    assert_eq!(read(&colours).unwrap(), Image::new(1, 1, 3, vec![0, 51, 255]).unwrap());
}

#[test]
fn floats_out_of_range_are_named() {
    for (value, named) in [(4000.0, "4000"), (-0.5, "-0.5"), (f32::NAN, "NaN"), (1.0001, "1.0001")] {
        let problem = problem(&floats(&[0.0, 1.0, value]));
        let expected = format!("sample 2 of a TIFF of floats is {named}");
        assert!(problem.contains(&expected) && problem.contains("scale them to 0..=1"), "{problem}");
    }
}

#[test]
fn palettes_give_the_upper_bits_of_their_colours() {
    let colours = |bits: u32| (0..3 << bits).map(|i: u32| (i * 4099) as u16).collect::<Vec<u16>>();
    let palette = file([1, 4], PALETTE, &[8], &[(COLOR_MAP, &colours(8))], &[0, 7, 200, 255]);
    assert_eq!(pixels(palette), (3, vec![0, 3, 6, 112, 115, 118, 130, 133, 136, 242, 245, 248]));
    // Two rows of three indices, each row in two bytes.
    let palette = file([2, 3], PALETTE, &[4], &[(COLOR_MAP, &colours(4))], &[0x0f, 0x70, 0x12, 0x30]);
    let red_of = |index: usize| ((index * 4099) >> 8) as u8;
    let (channels, found) = pixels(palette);
    let reds: Vec<u8> = found.iter().step_by(3).copied().collect();
    assert_eq!((channels, reds), (3, [0, 15, 7, 1, 2, 3].map(red_of).to_vec()));
    let more: [(u16, &[u16]); 2] = [(COLOR_MAP, &colours(8)), (EXTRA_SAMPLES, &[STRAIGHT])];
    let with_alpha = file([1, 2], PALETTE, &[8, 8], &more, &[7, 128, 200, 255]);
    assert_eq!(pixels(with_alpha), (3, vec![183, 185, 186, 130, 133, 136]));

    let [short, _] = file([1, 1], PALETTE, &[8], &[(COLOR_MAP, &[0; 48])], &[0]);
    assert!(
        problem(&short).contains("the TIFF's palette has 48 values; expected 768"),
        "{}",
        problem(&short)
    );
    let [deep, _] = file([1, 1], PALETTE, &[16], &[(COLOR_MAP, &colours(8))], &[0, 0]);
    assert!(problem(&deep).contains("a palette of 16 bits; at most 8"), "{}", problem(&deep));
}

#[test]
fn alpha_is_over_white() {
    let straight = [0, 128, 60, 128, 100, 128, 200, 255, 9, 0, 50, 100];
    let grey = |extra: u16| file([1, 6], BLACK_IS_ZERO, &[8, 8], &[(EXTRA_SAMPLES, &[extra])], &straight);
    assert_eq!(pixels(grey(STRAIGHT)), (1, vec![127, 157, 177, 200, 255, 175]));
    assert_eq!(pixels(grey(0)), (1, vec![0, 60, 100, 200, 9, 50]), "a sample that is no alpha");
    let over_black = read_over(&grey(STRAIGHT)[0], [0; 3]).unwrap();
    assert_eq!(over_black.pixels, [0, 30, 50, 200, 0, 20]);

    let colours = [10, 60, 120, 128, 200, 1, 2, 255, 0, 0, 0, 0, 50, 20, 99, 100];
    let rgb = |extra: u16| file([2, 2], RGB, &[8; 4], &[(EXTRA_SAMPLES, &[extra])], &colours);
    let expected = vec![132, 157, 187, 200, 1, 2, 255, 255, 255, 175, 163, 194];
    assert_eq!(pixels(rgb(STRAIGHT)), (3, expected));
    let expected = vec![137, 187, 247, 200, 1, 2, 255, 255, 255, 205, 175, 254];
    assert_eq!(pixels(rgb(ASSOCIATED)), (3, expected), "colours that are multiplied with it");
    assert_eq!(pixels(rgb(0)), (3, vec![10, 60, 120, 200, 1, 2, 0, 0, 0, 50, 20, 99]));
    // 60 of 128 is 119 of 255, as above, and that over white.
    let grey = file([1, 2], BLACK_IS_ZERO, &[8, 8], &[(EXTRA_SAMPLES, &[ASSOCIATED])], &[60, 128, 7, 255]);
    assert_eq!(pixels(grey), (1, vec![187, 7]));
}

#[test]
fn samples_of_other_sizes_are_scaled() {
    let nibbles = file([2, 3], BLACK_IS_ZERO, &[4], &[], &[0x0f, 0x70, 0x12, 0x30]);
    assert_eq!(pixels(nibbles), (1, vec![0, 255, 119, 17, 34, 51]));
    let two_bits = |photometric| file([2, 3], photometric, &[2], &[], &[0b0001_1000, 0b1101_1000]);
    assert_eq!(pixels(two_bits(BLACK_IS_ZERO)), (1, vec![0, 85, 170, 255, 85, 170]));
    assert_eq!(pixels(two_bits(WHITE_IS_ZERO)), (1, vec![255, 170, 85, 0, 170, 85]));
    let one_bit = file([2, 10], WHITE_IS_ZERO, &[1], &[], &[0b0101_0101, 0b0100_0000, 0xff, 0xff]);
    let expected = [[255, 0].repeat(5), vec![0; 10]].concat();
    assert_eq!(pixels(one_bit), (1, expected));
    // 16 bits are rounded to 8: round(value / 257).
    let words = [0_u16, 128, 129, 0x8000, 0xfffe, 0xffff];
    for (order, bytes) in [words.map(u16::to_le_bytes), words.map(u16::to_be_bytes)].iter().enumerate() {
        let grey = file([1, 6], BLACK_IS_ZERO, &[16], &[], bytes.as_flattened());
        assert_eq!(read(&grey[order]).unwrap().pixels, [0, 0, 1, 128, 255, 255]);
        let more: [(u16, &[u16]); 1] = [(EXTRA_SAMPLES, &[STRAIGHT])];
        let with_alpha = file([1, 3], BLACK_IS_ZERO, &[16; 2], &more, bytes.as_flattened());
        assert_eq!(read(&with_alpha[order]).unwrap().pixels, [255, 128, 255]);
    }
}

#[test]
fn cmyk_and_planes_match_pillow() {
    let inks = [0, 0, 0, 0, 10, 200, 30, 40, 255, 0, 128, 0, 1, 2, 3, 254];
    let expected = vec![255, 255, 255, 207, 46, 190, 0, 255, 127, 1, 1, 1];
    assert_eq!(pixels(file([2, 2], CMYK, &[8; 4], &[], &inks)), (3, expected));
    let entries: [(u16, &[u16]); 4] = [
        (BITS_PER_SAMPLE, &[8; 3]),
        (PHOTOMETRIC_INTERPRETATION, &[RGB]),
        (SAMPLES_PER_PIXEL, &[3]),
        (284, &[2]), // planes
    ];
    let planes = tiff(true, [1, 3], &entries, &[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]]);
    assert_eq!(read(&planes).unwrap().pixels, [1, 4, 7, 2, 5, 8, 3, 6, 9]);
}

#[test]
fn the_orientation_is_applied() {
    let rotated = file([1, 3], BLACK_IS_ZERO, &[8], &[(274, &[6])], &[1, 2, 3]);
    for file in rotated {
        assert_eq!(read(&file).unwrap(), Image::new(1, 3, 1, vec![1, 2, 3]).unwrap());
    }
}

#[test]
fn other_pixels_are_named() {
    let [bands, _] = file([1, 1], BLACK_IS_ZERO, &[8; 3], &[(EXTRA_SAMPLES, &[0, 0])], &[1, 2, 3]);
    let expected =
        "a TIFF whose pixels are Multiband { bit_depth: 8, num_samples: 3 }; grey, palettes, RGB and CMYK";
    assert!(problem(&bands).contains(expected), "{}", problem(&bands));
    let [unknown, _] = file([1, 1], BLACK_IS_ZERO, &[8; 2], &[], &[1, 2]);
    assert!(problem(&unknown).contains("num_samples: 2"), "a second sample of no meaning");
    let [signed, _] = file([1, 1], BLACK_IS_ZERO, &[16], &[(SAMPLE_FORMAT, &[2])], &[1, 2]);
    assert!(
        problem(&signed).contains("a TIFF whose samples have 16 bits; 1, 2, 4, 8 and 16"),
        "{}",
        problem(&signed)
    );
    let [packed, _] = file([1, 1], BLACK_IS_ZERO, &[8], &[(COMPRESSION, &[34_925])], &[1]);
    assert!(problem(&packed).starts_with("not readable as image: "), "{}", problem(&packed));
    let [cut, _] = file([1, 3], BLACK_IS_ZERO, &[8], &[], &[1, 2]);
    assert!(!problem(&cut[..cut.len() - 40]).is_empty());
}
