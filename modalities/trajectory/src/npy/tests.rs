use super::*;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Result<Array, String> {
    Array::read(bytes, 1 << 20)
}

fn values(descr: &str, shape: &str, elements: &[u8]) -> Vec<f64> {
    read(&write(descr, shape, elements.to_vec())).unwrap().values().collect()
}

fn error(descr: &str, shape: &str) -> String {
    read(&write(descr, shape, vec![0; 8])).err().unwrap()
}

#[test]
fn every_element_type() {
    assert_eq!(values("|b1", "(2,)", &[0, 1]), [0.0, 1.0]);
    assert_eq!(values("|i1", "(1,)", &[0xFE]), [-2.0]);
    assert_eq!(values("|u1", "(1,)", &[0xFE]), [254.0]);
    assert_eq!(values("<i2", "(1,)", &(-3_i16).to_le_bytes()), [-3.0]);
    assert_eq!(values(">i4", "(1,)", &(-70_000_i32).to_be_bytes()), [-70_000.0]);
    assert_eq!(values("<i8", "(1,)", &(-1_i64).to_le_bytes()), [-1.0]);
    assert_eq!(values("<u8", "(1,)", &u64::MAX.to_le_bytes()), [u64::MAX as f64]);
    assert_eq!(values("<f2", "(1,)", &[0x00, 0xBC]), [-1.0]);
    assert_eq!(values(">f4", "(1,)", &1.5_f32.to_be_bytes()), [1.5]);
    assert_eq!(values("<f8", "(1,)", &0.1_f64.to_le_bytes()), [0.1]);
}

#[test]
fn column_major_order_is_converted() {
    let mut bytes = write("|u1", "(2, 3)", vec![1, 4, 2, 5, 3, 6]);
    let at = bytes.windows(5).position(|text| text == b"False").unwrap();
    bytes.splice(at..at + 5, *b"True ");
    assert_eq!(read(&bytes).unwrap().values().collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn wrong_headers_are_errors() {
    assert_eq!(error("<f4", "(2, 2)"), "shape (2, 2): expected 16 bytes; found 8");
    assert_eq!(error("<f4", "(1,)"), "shape (1, 1): expected 4 bytes; found more");
    assert_eq!(
        error("<f4", "(1000000000, 1000)"),
        "shape (1000000000, 1000) of 4-byte numbers exceeds 1048576 bytes"
    );
    assert!(error("<f4", "(4611686018427387904, 8)").contains("exceeds"));
    assert!(error("<f4", "(99999999999999999999, 8)").starts_with("shape must be"));
    assert!(error("<f4", "(1152921504606846976, 0)").starts_with("shape must be"));
    assert!(error("<f4", "()").starts_with("shape must be"));
    assert!(error("<f4", "(1, 2, 1)").starts_with("shape must be"));
    assert!(error("|O", "(1,)").contains("found Python objects (|O)"));
    assert!(error("<U5", "(1,)").ends_with("found \"'<U5'\""));
    assert!(error("<c8", "(1,)").starts_with("elements must be"));
    assert!(error("<f4", &"(".repeat(20_000)).starts_with("the header has 20"));
    assert!(read(b"\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF").err().unwrap().contains("4294967295 bytes"));
    assert!(read(b"").err().unwrap().starts_with("the header is truncated"));
    assert!(read(b"PK\x03\x04 and more").err().unwrap().contains("is not a .npy array"));
}

proptest! {
    #[test]
    fn mutated_arrays_do_not_panic(at in 0_usize..160, byte: u8, cut in 0_usize..200) {
        let mut bytes = write("<f4", "(2, 4)", vec![7; 32]);
        bytes[at] = byte;
        bytes.truncate(cut);
        if let Ok(array) = read(&bytes) {
            prop_assert_eq!(array.values().count(), array.rows * array.columns);
        }
    }
}
