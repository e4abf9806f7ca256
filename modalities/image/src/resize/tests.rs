use super::*;

fn all([height, width]: [usize; 2]) -> [Side; 2] {
    [Side::all(height), Side::all(width)]
}

fn whole(image: &Image, size: [usize; 2], filter: Filter) -> Image {
    resize(image, all(size), filter).unwrap().into_owned()
}

const FILTERS: [Filter; 5] =
    [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

/// An image of sharp edges between all pixels.
fn edges(width: usize, height: usize, channels: usize) -> Image {
    let pixel = |i: usize| ((i * 7919) ^ (i / 3 * 104_729)) as u8;
    Image::new(width, height, channels, (0..width * height * channels).map(pixel).collect()).unwrap()
}

#[test]
fn shrinking_averages_and_keeps_flat_colour() {
    let stripes = Image::new(8, 4, 1, [0, 200].repeat(16)).unwrap();
    let small = whole(&stripes, [4, 2], Filter::Bilinear);
    assert!(small.pixels.iter().all(|p| p.abs_diff(100) <= 15), "{:?}", small.pixels);
    let flat = Image::new(5, 7, 3, [10, 20, 30].repeat(35)).unwrap();
    for filter in FILTERS {
        assert_eq!(whole(&flat, [3, 9], filter).pixels, [10, 20, 30].repeat(27), "{filter:?}");
    }
}

#[test]
fn a_crop_equals_the_crop_of_the_whole_result() {
    let image = edges(37, 23, 3);
    for filter in FILTERS {
        for size in [[50, 61], [11, 13], [23, 40], [9, 37]] {
            let entire = whole(&image, size, filter);
            let sides = size.map(|side| Side { whole: side, kept: 2..side - 3 });
            let cut = resize(&image, sides.clone(), filter).unwrap().into_owned();
            assert_eq!(cut, entire.cut(2..size[0] - 3, 2..size[1] - 3), "{filter:?} {size:?}");
        }
    }
}

#[test]
fn grey_equals_one_channel_of_colour() {
    let grey = edges(31, 17, 1);
    for filter in FILTERS {
        let (one, three) = (whole(&grey, [20, 12], filter), whole(&grey.to_channels(3), [20, 12], filter));
        assert_eq!(*one.to_channels(3), three, "{filter:?}");
    }
}

#[test]
fn the_centre_crop_matches_transformers() {
    assert_eq!(Side::middle(341, 224).kept, 58..282);
    assert_eq!(Side::middle(9, 4).kept, 2..6);
    assert_eq!(Side::middle(7, 7).kept, 0..7);
}

#[test]
fn empty_and_too_large_sizes_are_errors() {
    let image = edges(4, 4, 1);
    let error_of = |size| resize(&image, all(size), Filter::Bilinear).unwrap_err().to_string();
    assert!(error_of([0, 4]).contains("cannot become 0×4"));
    assert!(error_of([8000, 8001]).contains("64000000"));
    assert!(error_of([usize::MAX, 2]).contains("64000000"));
}

#[test]
fn very_thin_images_stay_small_in_between() {
    // 100,000 by 4,000 pixels in between would be 400 megabytes.
    for (width, height, to) in [(1, 100_000, [2, 4000]), (100_000, 1, [4000, 2])] {
        let small = whole(&Image::new(width, height, 1, vec![77; 100_000]).unwrap(), to, Filter::Bilinear);
        assert_eq!([small.height, small.width], to);
        // Fixed-point weights of 50,000 pixels for one may be off by one in the last unit.
        assert!(small.pixels.iter().all(|pixel| pixel.abs_diff(77) <= 1), "{}", small.pixels[0]);
    }
}

/// Sums over the result of `resize` of Pillow 13, each value times 1 to 1009 by its index.
#[test]
fn every_filter_matches_pillow() {
    const SIZES: [[usize; 2]; 5] = [[64, 64], [31, 50], [100, 150], [72, 33], [7, 200]];
    const COLOUR: [[u64; 5]; 5] = [
        [808184568, 293736560, 2973038414, 451813043, 269452603],
        [808614426, 293203321, 2972562776, 468272590, 271948881],
        [809061397, 293878287, 2985596191, 470970022, 271356632],
        [808968617, 293866598, 2984672088, 470927927, 271391888],
        [808339695, 293869679, 2977833675, 470888081, 271359626],
    ];
    const GREY: [[u64; 5]; 5] = [
        [263378750, 86159893, 979012000, 144384407, 77487407],
        [263378750, 86159893, 979012000, 143813959, 77697502],
        [264203689, 86561068, 982944706, 143619489, 77076967],
        [263882316, 86597016, 983093633, 143750495, 77088656],
        [263732749, 86571533, 983539945, 143779365, 77085425],
    ];
    for (image, expected) in [(edges(96, 72, 3), COLOUR), (edges(37, 23, 1), GREY)] {
        for (filter, sums) in FILTERS.into_iter().zip(expected) {
            for (size, sum) in SIZES.into_iter().zip(sums) {
                let resized = whole(&image, size, filter);
                let values = resized.pixels.iter().enumerate();
                let found: u64 = values.map(|(i, &value)| (i as u64 % 1009 + 1) * u64::from(value)).sum();
                assert_eq!(found, sum, "{filter:?} of {} channels to {size:?}", image.channels);
            }
        }
    }
}
