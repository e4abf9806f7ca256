use super::*;

fn array(shape: &[usize]) -> Result<Images, String> {
    Images::of_array(shape, (0..shape.iter().product::<usize>()).map(|i| i as u8).collect())
}

#[test]
fn channels_are_moved_last() {
    let grey = array(&[2, 2, 4]).unwrap();
    assert_eq!(grey, array(&[2, 2, 4, 1]).unwrap());
    assert_eq!(grey, array(&[2, 1, 2, 4]).unwrap());
    let colours = array(&[2, 3, 1, 2]).unwrap();
    let pixels: &[u8] = &[6, 8, 10, 7, 9, 11];
    assert_eq!(colours.get(1), Some(Image::Frame { height: 1, width: 2, channels: 3, pixels }));
    assert_eq!(colours.get(2), None);
    assert_eq!((colours.len(), colours.slice(1..9).len(), colours.slice(7..9).len()), (2, 1, 0));
}

#[test]
fn stacked_frames_are_side_by_side() {
    let size = |shape: &[usize]| match array(shape).unwrap() {
        Images::Frames { height, width, channels, .. } => [height, width, channels],
        other => panic!("{other:?}"),
    };
    for (shape, expected) in [
        (&[2, 84, 84, 4][..], [84, 4 * 84, 1]),
        (&[2, 4, 84, 84], [84, 4 * 84, 1]),
        (&[2, 16, 16, 2], [16, 2 * 16, 1]),
        (&[2, 16, 16, 9], [16, 3 * 16, 3]),
        (&[2, 16, 16, 12], [16, 4 * 16, 3]),
        (&[2, 6, 8, 8], [8, 2 * 8, 3]),
        (&[2, 5, 8, 8, 3], [8, 5 * 8, 3]),
        (&[2, 5, 3, 8, 8], [8, 5 * 8, 3]),
        (&[2, 2, 8, 8, 4], [8, 8 * 8, 1]),
        (&[2, 1, 1, 1, 1], [1, 1, 1]),
    ] {
        assert_eq!(size(shape), expected, "{shape:?}");
    }
    // Two grey frames of 2×2 pixels: 0 to 3 and 4 to 7.
    let pixels = |images: Images| match images {
        Images::Frames { pixels, .. } => pixels.to_vec(),
        other => panic!("{other:?}"),
    };
    let side_by_side = [0, 1, 4, 5, 2, 3, 6, 7];
    assert_eq!(pixels(array(&[1, 2, 2, 2, 1]).unwrap()), side_by_side);
    let last = Images::of_array(&[1, 2, 2, 2], vec![0, 4, 1, 5, 2, 6, 3, 7]).unwrap();
    assert_eq!(pixels(last), side_by_side);
    // Two RGB frames of 1×2 pixels, with channels before height and width.
    assert_eq!(pixels(array(&[1, 2, 3, 1, 2]).unwrap()), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    assert_eq!(pixels(array(&[1, 6, 1, 7]).unwrap())[..6], [0, 7, 14, 1, 8, 15]);
}

#[test]
fn numbers_are_pixels() {
    let read = |numbers: &[f64], whole| Images::of_numbers(&[1, 1, 3], numbers, whole);
    let pixels = |images: Images| match images {
        Images::Frames { pixels, .. } => pixels.to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(pixels(read(&[0.0, 0.5, 1.0], false).unwrap()), [0, 128, 255]);
    assert_eq!(pixels(read(&[0.0, 2.0, 255.0], false).unwrap()), [0, 2, 255]);
    assert_eq!(pixels(read(&[0.0, 1.0, 1.0], true).unwrap()), [0, 1, 1], "bytes of another type");
    for wrong in [-0.5, 1.5, 256.0, f64::NAN, f64::INFINITY] {
        let error = read(&[0.5, 0.25, wrong], false).unwrap_err();
        assert!(
            error.starts_with("pixels must be from 0 to 1, or whole numbers from 0 to 255; found"),
            "{error}"
        );
    }
}

#[test]
fn other_shapes_are_errors() {
    for shape in [&[2, 70, 70, 70][..], &[2, 1, 1, 1, 1, 1], &[2, 0, 3], &[2, 3]] {
        assert!(array(shape).unwrap_err().contains(&format!("{shape:?}")), "{shape:?}");
    }
    assert!(Images::of_array(&[usize::MAX, 2, 3], vec![]).is_err());
    for steps in [0, 1] {
        let huge = [steps, usize::MAX / 4, 1, usize::MAX / 4, 3];
        assert!(Images::of_array(&huge, vec![]).is_err());
    }
}

#[test]
fn a_missing_image_is_an_error() {
    let error = |images: Images, steps| images.validate("observations.front", steps).unwrap_err().to_string();
    assert_eq!(
        error(Images::Files(vec!["a.png".into()]), 2),
        "observations.front must have an image for each of the 2 rewards; found 1"
    );
    assert!(error(array(&[2, 2, 3]).unwrap(), 1).ends_with("found 12 bytes of 2×3 pixels in 1 channels"));
    let huge = Images::Frames { height: usize::MAX, width: 2, channels: 3, pixels: Bytes::new() };
    assert!(huge.is_empty() && huge.get(0).is_none());
    assert!(error(huge, 1).contains("frames of 1 or 3 channels"));
}
