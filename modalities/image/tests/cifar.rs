//! CIFAR-10's binary files.

use proptest::prelude::*;
use smalti_image::cifar;

fn sample(label: u8, colour: [u8; 3]) -> Vec<u8> {
    std::iter::once(label).chain(colour.into_iter().flat_map(|c| [c; 1024])).collect()
}

#[test]
fn planes_become_pixels() {
    let mut second = sample(9, [4, 5, 6]);
    second[1 + 1024 + 33] = 77; // green of row 1, column 1
    let read = cifar::images(&[sample(3, [1, 2, 3]), second].concat()).unwrap();
    assert_eq!(read.iter().map(|(_, label)| *label).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(read[0].0.pixels[..6], [1, 2, 3, 1, 2, 3]);
    assert_eq!(read[1].0.pixels[3 * 33..3 * 34], [4, 77, 6]);
    assert_eq!((read[0].0.height, read[0].0.width, read[0].0.channels), (32, 32, 3));
}

#[test]
fn other_files_are_errors() {
    let error_of = |bytes: &[u8]| cifar::images(bytes).unwrap_err().to_string();
    assert_eq!(error_of(&[]), "not readable as CIFAR-10: 0 bytes; expected whole samples of 3073");
    let cut = &sample(0, [0; 3])[..3000];
    assert_eq!(error_of(cut), "not readable as CIFAR-10: 3000 bytes; expected whole samples of 3073");
    assert_eq!(
        error_of(&sample(10, [0; 3])),
        "not readable as CIFAR-10: sample 0 has label 10; expected 0 to 9"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..7000)) {
        let whole = bytes.len() / 3073;
        if let Ok(read) = cifar::images(&bytes) {
            prop_assert_eq!(read.len(), whole);
        }
    }
}
