//! PyTorch files whose pickles grow without end.

use crate::limits::withstands;
use std::fs;
use std::path::Path;

/// A checkpoint whose `pytorch_model.bin` has this pickle.
fn checkpoint(of: &Path, name: &str, pickle: &[u8]) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/gpt2-untied/config.json");
    let folder = of.join(name);
    fs::create_dir(&folder).unwrap();
    fs::copy(from, folder.join("config.json")).unwrap();
    let members = [("archive/data.pkl", pickle), ("archive/data/0", &[0; 16]), ("archive/version", b"3\n")];
    fs::write(folder.join("pytorch_model.bin"), crate::files::zip(&members)).unwrap();
}

/// A dictionary with the tensor `a` of these sizes and strides, over a storage of `elements`.
fn tensor(elements: u64, shape: &[u64], stride: &[u64]) -> Vec<u8> {
    let long = |number: u64| [&[0x8a, 9][..], &number.to_le_bytes(), &[0]].concat();
    let tuple = |numbers: &[u64]| {
        let numbers = numbers.iter().flat_map(|&number| long(number));
        [b"(".to_vec(), numbers.collect(), b"t".to_vec()].concat()
    };
    let start = b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu";
    [
        &start[..],
        &long(elements),
        b"tQ",
        &long(0),
        &tuple(shape),
        &tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

#[test]
fn pickles_that_grow_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut laughs = b"\x80\x02K\x01q\x00".to_vec();
    for i in 0..40 {
        laughs.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]);
    }
    laughs.push(b'.');
    let deep = [&b"\x80\x02)"[..], &[0x85; 1_000_000], b"."].concat();
    let marks = [&b"\x80\x02"[..], &[b'('; 1_000_000], b"."].concat();
    let lists = [&b"\x80\x02"[..], &[b']'; 1_000_000], b"."].concat();
    let shape = tensor(1 << 60, &[1 << 30, 1 << 30], &[1 << 30, 1]);
    let overlap = tensor(4, &[1 << 31, 1 << 31], &[0, 0]);
    for (name, pickle) in [
        ("laughs", laughs),
        ("deep", deep),
        ("marks", marks),
        ("lists", lists),
        ("shape", shape),
        ("overlap", overlap),
    ] {
        checkpoint(folder.path(), name, &pickle);
        let line = format!("import {name} --out run");
        withstands(&format!("import, a pickle: {name}"), folder.path(), &line, &["pytorch_model.bin"]);
    }
}
