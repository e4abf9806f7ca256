//! Damaged and random files give an error or episodes, never a panic.

use proptest::prelude::*;
use smalti_trajectory::{episodes, jsonl, npz};

const JSONL: &str = r#"{"observations": [[0.5, 2], [1, 3]], "actions": [0, 3], "rewards": [1, 1.5], "terminated": true}
{"observations": [[0.25, 2]], "actions": [1], "rewards": [-1]}
"#;

/// Replace some bytes, and cut off the rest.
fn damaged(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)], cut: prop::sample::Index) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(cut.index(2 * bytes.len()));
    bytes
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
        let bytes = if magic { [b"PK\x03\x04", &bytes[..]].concat() } else { bytes };
        episodes(&bytes).for_each(drop);
        let _ = npz::read(&bytes);
        let _ = jsonl::read(&bytes);
    }

    #[test]
    fn damaged_jsonl_does_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let bytes = damaged(JSONL.as_bytes().to_vec(), &changes, cut);
        for episode in episodes(&bytes).flatten() {
            prop_assert_eq!(episode.validate(), Ok(()));
        }
    }
}

#[test]
fn lines_after_an_invalid_one_are_read() {
    let file = format!("nonsense\n{JSONL}");
    let read: Vec<bool> = episodes(file.as_bytes()).map(|episode| episode.is_ok()).collect();
    assert_eq!(read, [false, true, true]);
    assert_eq!(jsonl::read(JSONL.as_bytes()).unwrap().len(), 2);
}
