//! IDX files: MNIST's images and labels.

use proptest::prelude::*;
use smalti_contract::{TokenizeError, Tokenizer};
use smalti_image::{Image, ImageConfig, ImageTokenizer, fit, idx};

fn file(kind: u8, sizes: &[u32], payload: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
    [&[0, 0, 8, kind], sizes.as_slice(), payload].concat()
}

fn images(bytes: &[u8]) -> Result<Vec<Image>, TokenizeError> {
    idx::images(bytes).collect()
}

#[test]
fn images_and_labels_are_read() {
    let bytes = file(3, &[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let read = images(&bytes).unwrap();
    assert_eq!(read[1], Image::new(3, 2, 1, vec![7, 8, 9, 10, 11, 12]).unwrap());
    assert_eq!(read.len(), 2);
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(1, 2, [4, 4])).unwrap();
    assert_eq!(tokenizer.raw_inputs(&bytes).count(), 2);
    assert_eq!(idx::labels(&file(1, &[3], &[5, 0, 4])).unwrap(), [5, 0, 4]);
}

#[test]
fn wrong_headers_are_errors() {
    let error_of = |bytes: &[u8]| images(bytes).unwrap_err().to_string();
    assert_eq!(error_of(b""), "not readable as IDX: 0 bytes; the header alone has 16");
    assert_eq!(error_of(&file(3, &[1, 2], &[])), "not readable as IDX: 12 bytes; the header alone has 16");
    assert_eq!(
        error_of(&file(3, &[2, 2, 2], &[0; 7])),
        "not readable as IDX: the header has 2×2×2 = 8 bytes; 7 follow it"
    );
    assert!(error_of(&file(3, &[2, 2, 2], &[0; 9])).contains("9 follow"), "more than the header has");
    assert_eq!(
        error_of(&file(3, &[u32::MAX, 28, 28], &[0; 784])),
        "not readable as IDX: the header has 4294967295×28×28 = 3367254359280 bytes; 784 follow it"
    );
    assert!(error_of(&file(3, &[u32::MAX; 3], &[0; 784])).contains("784 follow"), "beyond 64 bits");
    assert_eq!(
        error_of(&file(3, &[u32::MAX, 0, 28], &[])),
        "not readable as IDX: images of 0×28 pixels; both sides must be at least 1"
    );
    assert_eq!(
        error_of(&file(1, &[1], &[5])),
        "not readable as IDX: begins with [00, 00, 08, 01]; expected [00, 00, 08, 03]"
    );
    assert!(idx::labels(&file(1, &[u32::MAX], &[5])).is_err());
    assert!(idx::labels(&file(3, &[1, 1, 1], &[5])).is_err());
}

proptest! {
    #[test]
    fn no_header_panics(sizes in any::<[u8; 12]>(), payload in any::<Vec<u8>>()) {
        let bytes = [&[0, 0, 8, 3], &sizes[..], &payload].concat();
        prop_assert!(idx::images(&bytes).take(2).count() <= 2);
        let small = sizes.map(|size| u32::from(size % 4));
        for image in idx::images(&file(3, &small[..3], &payload)).flatten() {
            prop_assert_eq!(image.pixels.len(), image.width * image.height);
        }
    }
}

/// A file of the MNIST folder, decompressed.
fn mnist(name: &str) -> Vec<u8> {
    let data = std::env::var("SMALTI_DATA").expect("SMALTI_DATA is the folder of the data");
    let packed = std::fs::File::open(format!("{data}/image/mnist/{name}-ubyte.gz")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
    bytes
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn mnist_has_the_known_statistics() {
    let (train, test) = (mnist("train-images-idx3"), mnist("t10k-images-idx3"));
    let tokenizer = ImageTokenizer::new(ImageConfig::vit(1, 7, [28, 28])).unwrap();
    let train: Vec<Image> = tokenizer.raw_inputs(&train).collect::<Result<_, _>>().unwrap();
    assert_eq!(train.len(), 60_000);
    assert_eq!(tokenizer.raw_inputs(&test).filter(Result::is_ok).count(), 10_000);
    let labels = idx::labels(&mnist("train-labels-idx1")).unwrap();
    assert_eq!((labels.len(), &labels[..3]), (60_000, &[5, 0, 4][..]));
    assert_eq!(idx::labels(&mnist("t10k-labels-idx1")).unwrap().len(), 10_000);

    let (mean, std) = fit::normalisation(&train, 1).unwrap();
    assert!((mean[0] - 0.1307).abs() < 1e-4 && (std[0] - 0.3081).abs() < 1e-4, "{mean:?} {std:?}");
    for image in &train[..1000] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(image).unwrap()).unwrap(), *image);
    }
}
