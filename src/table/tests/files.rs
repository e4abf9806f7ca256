//! Class folders, WebDataset, IDX and CIFAR-10.

use super::*;
use crate::data::testing::{folder_of, gzip, tar_of};

#[test]
fn class_folders_label_files() {
    let folder = folder_of(&[
        ("d/train/cat/1.png", b"1"),
        ("d/train/dog/x/2.wav", b"2"),
        ("d/test/cat/3.png", b"3"),
        ("d/test/.hidden/x", b"4"),
        ("d/other/cat/4.png", b"5"),
        ("d/train/.DS_Store", b"6"),
        ("e/cat/1.png", b"1"),
        ("e/classes.txt", b"dog\ncat\n"),
        ("f/cow/1.png", b"1"),
        ("f/classes.txt", b"dog\ncat\n"),
    ]);
    let d = table(&folder, "d");
    assert_eq!(d.fields(), ["file", "label", "split"]);
    assert_eq!(all(&*d, "label"), texts(&["cat", "cat", "dog"]));
    assert_eq!(all(&*d, "split"), texts(&["test", "train", "train"]));
    assert_eq!(file(d.value(2, "file").unwrap()), ("train/dog/x/2.wav".into(), b"2".to_vec()));
    assert_eq!(d.skipped().len(), 3, "{:?}", d.skipped());
    let e = table(&folder, "e");
    assert_eq!((e.fields().len(), e.classes("label").unwrap()), (2, &["dog".to_string(), "cat".into()][..]));
    assert_eq!(
        refusal(&folder, "f"),
        "f/cow/1.png: its folder \"cow\" is not in classes.txt, which lists dog, cat"
    );
    std::fs::write(at(&folder, "d.tar"), tar_of(&[("test/cat/1.png", b"1")])).unwrap();
    assert_eq!(all(&*table(&folder, "d.tar"), "split"), texts(&["test"]));
}

#[test]
fn members_of_one_name_are_one_row() {
    let train = tar_of(&[
        ("a.v1.png", b"A"),
        ("a.txt", b" hello \n"),
        ("a.cls", b"1\n"),
        ("a.json", b"{\"label\": \"five\", \"radar\": [1, 2], \"deep\": {\"n\": 3}}"),
        ("b.PNG", b"B"),
        ("b.cls", b""),
        ("b.json", b"{\"label\": \"six\", \"late\": true}"),
        ("README", b"r"),
    ]);
    let validation = tar_of(&[("x/c.png", b"C"), ("x/c.cls", b"0")]);
    let folder = folder_of(&[
        ("train-0000.tar", &train),
        ("valid.tar", &validation),
        ("classes.txt", b"cat\ndog\n"),
        ("note.md", b"n"),
    ]);
    for path in ["", "*.tar", "{train-0000,valid}.tar"] {
        let t = table(&folder, path);
        assert_eq!(
            t.fields(),
            ["cls", "json.deep.n", "json.label", "json.radar", "json.late", "txt", "v1.png", "png", "split"]
                .map(String::from)
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(all(&*t, "cls"), texts(&["dog", "", "cat"]));
        assert_eq!(all(&*t, "txt"), texts(&["hello", "", ""]));
        assert_eq!(all(&*t, "json.label"), texts(&["five", "six", ""]));
        assert_eq!(all(&*t, "json.radar")[0], Value::vector([1.0, 2.0]));
        assert_eq!(all(&*t, "json.deep.n"), numbers(&[3.0, f64::NAN, f64::NAN]));
        assert_eq!(all(&*t, "split"), texts(&["train", "train", "validation"]));
        assert_eq!(file(t.value(1, "png").unwrap()), ("b.PNG".into(), b"B".to_vec()));
        assert!(t.value(0, "png").unwrap().is_missing());
        assert_eq!(t.classes("cls").unwrap(), ["cat", "dog"]);
        assert!(t.location(2).ends_with("valid.tar/x/c.*"));
        assert!(t.origin(0).is_some());
    }
    assert_eq!(table(&folder, "").skipped().len(), 2);
}

/// The map `{x: number, y: [1, 2]}` in MessagePack.
fn packed_map(number: u8) -> Vec<u8> {
    vec![0x82, 0xa1, b'x', number, 0xa1, b'y', 0x92, 1, 2]
}

#[test]
fn members_are_decoded_by_their_ending() {
    use smalti_contract::{Array, Numbers};
    let floats =
        |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let depth = smalti_npy::write("<f4", "(1, 2)", floats(&[0.5, 2.0]));
    let mut npz = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, array) in [("a", &depth), ("b", &smalti_npy::write("|u1", "(2,)", [7, 8]))] {
        npz.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut npz, array).unwrap();
    }
    let npz = npz.finish().unwrap().into_inner();
    let shard = tar_of(&[
        ("0.depth.npy", &depth),
        ("0.left.PNG", b"L"),
        ("0.mp", &packed_map(3)),
        ("0.npz", &npz),
        ("0.pyd", b"\x80\x04N."),
        ("0.seg.png", b"S"),
        ("1.depth.npy", &smalti_npy::write("<i8", "()", 5_i64.to_le_bytes())),
        ("1.mp", &packed_map(4)),
        ("1.pth", b"PK"),
        ("._1.mp", b"x"),
    ]);
    let folder = folder_of(&[("t.tar", &shard), ("t.tgz", &gzip(&shard)), ("t.tar.gz", &gzip(&shard))]);
    for path in ["t.tar", "t.tgz", "t.tar.gz"] {
        let t = table(&folder, path);
        let fields = ["depth.npy", "left.png", "mp.x", "mp.y", "npz.a", "npz.b", "seg.png", "split"];
        assert_eq!(t.fields(), fields, "{path}");
        let array = |shape: &[usize], numbers| Value::Array(Array { shape: shape.to_vec(), numbers });
        let half = array(&[1, 2], Numbers::F32(vec![0.5, 2.0]));
        assert_eq!(all(&*t, "depth.npy"), [half.clone(), Value::Number(5.0)]);
        assert_eq!(all(&*t, "mp.x"), numbers(&[3.0, 4.0]));
        assert_eq!(t.value(0, "mp.y").unwrap(), Value::vector([1.0, 2.0]));
        assert_eq!(all(&*t, "npz.a"), [half, Value::Missing]);
        assert_eq!(t.value(0, "npz.b").unwrap(), array(&[2], Numbers::U8(vec![7, 8])));
        assert_eq!(file(t.value(0, "left.png").unwrap()).1, b"L");
        let pickles: Vec<&str> = t
            .skipped()
            .iter()
            .filter(|(_, why)| why.contains("pickle"))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(pickles, ["pyd", "pth"]);
    }
}

#[test]
fn members_of_series_have_a_step_for_each_element() {
    let floats =
        |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let path = smalti_npy::write("<f4", "(2, 1)", floats(&[0.5, 2.0]));
    let speed = smalti_npy::write("<f4", "(2,)", floats(&[f32::NAN, 2.0]));
    let none = smalti_npy::write("<f4", "(0, 4)", []);
    let shard = tar_of(&[
        ("0.a.series.npy", &smalti_npy::write("<f4", "(3,)", floats(&[1.0, 2.0, 3.0]))),
        ("0.a", b"a file"),
        ("0.path.series.npy", &path),
        ("0.speed.series.npy", &speed),
        ("1.path.series.npy", &none),
        ("1.series.npy", &path),
        ("2.path.series.npy", b"\x93NUMPY\x01\x00\xff\xff"),
    ]);
    let folder = folder_of(&[("t.tar", &shard), ("convert.json", b"{}")]);
    let t = table(&folder, "t.tar");
    let names = ["a", "a.series.npy", "path", "series.npy", "speed"];
    let mut fields = t.fields().to_vec();
    fields.sort();
    assert!(names.iter().all(|name| fields.iter().any(|field| field == name)), "{fields:?}");
    let steps = Value::Series(vec![Value::vector([0.5]), Value::vector([2.0])]);
    assert_eq!(t.value(0, "path").unwrap(), steps);
    assert_eq!(t.window(0, "path", 1..7).unwrap(), steps.window(1..7));
    assert_eq!(t.value(0, "speed").unwrap(), Value::Series(vec![Value::Missing, Value::Number(2.0)]));
    assert_eq!(t.value(0, "a.series.npy").unwrap().steps(), Some(3));
    assert!(t.value(1, "path").unwrap().is_missing());
    assert_eq!(t.value(1, "series.npy").unwrap().describe(), "an array [2, 1]");
    let error = without(&folder, &t.value(2, "path").unwrap_err());
    assert!(error.starts_with("t.tar/2.path.series.npy: not readable as npy"), "{error}");
    assert!(table(&folder, "").skipped().is_empty(), "convert.json is known");
}

#[test]
fn corrupt_members_with_numbers_are_named() {
    let folder = folder_of(&[
        ("npy.tar", &tar_of(&[("a.npy", b"\x93NUMPY\x01\x00\xff\xff"), ("a.txt", b"t")])),
        ("npz.tar", &tar_of(&[("a.npz", b"PK\x03\x04"), ("a.txt", b"t")])),
        ("mp.tar", &tar_of(&[("a.mp", &packed_map(1)[..4]), ("a.txt", b"t")])),
        ("nan.tar", &tar_of(&[("a.json", b"{\"x\": [1, -Infinity]}"), ("a.txt", b"t")])),
        ("only.tar", &tar_of(&[("a.pickle", b"x")])),
    ]);
    let npy = table(&folder, "npy.tar").value(0, "npy").unwrap_err();
    assert!(without(&folder, &npy).starts_with("npy.tar/a.npy: not readable as npy: the header"));
    assert!(refusal_as(&folder, "webdataset", "npz.tar").starts_with("npz.tar/a.npz: not readable as npz"));
    assert!(refusal(&folder, "mp.tar").starts_with("mp.tar/a.mp: not readable as MessagePack"));
    assert_eq!(
        refusal(&folder, "nan.tar"),
        "nan.tar/a.json: not readable as JSON: -Infinity is not JSON; write null for a missing number"
    );
    assert_eq!(refusal(&folder, "only.tar"), "only.tar: empty; expected files such as 000123.png");
}

#[test]
fn corrupt_members_are_named() {
    let archive = tar_of(&[("a.cls", b"7"), ("a.png", b"A"), ("b.cls", b"0"), ("b.json", b"{\"x\"")]);
    let other = tar_of(&[("a.cls", b"7"), ("a.png", b"A"), ("b.png", b"")]);
    let folder = folder_of(&[
        ("json.tar", &archive),
        ("ok/t.tar", &other),
        ("ok/classes.txt", b"cat\n"),
        ("cut.tar", &archive[..1024]),
        ("empty.tar", b""),
        ("t.tar.gz", b"\x1f\x8bxxxx"),
    ]);
    assert!(refusal(&folder, "json.tar").starts_with("json.tar/b.json: not readable as JSON: EOF"));
    let t = table(&folder, "ok/t.tar");
    let message = |row, field| without(&folder, &t.value(row, field).unwrap_err());
    assert_eq!(
        message(0, "cls"),
        "ok/t.tar/a.cls: not readable as a class: expected a number below 1, as classes.txt lists; found \"7\""
    );
    assert_eq!(message(1, "png"), "ok/t.tar/b.png: empty; expected data");
    assert!(refusal(&folder, "cut.tar").contains("cut.tar: not readable as a tar archive: truncated"));
    assert_eq!(refusal(&folder, "empty.tar"), "empty.tar: empty; expected a tar archive");
    assert!(refusal(&folder, "t.tar.gz").starts_with("t.tar.gz: not readable as gzip: "));
    assert!(refusal(&folder, "none-*.tar").contains("not found; expected files that match the pattern"));
}

#[test]
fn class_folders_and_shards_are_mixed() {
    let shards = tar_of(&[("0.jpg", b"0"), ("0.cls", b"1"), ("1.jpg", b"1"), ("1.cls", b"0")]);
    let folders = tar_of(&[("test/cat/1.jpg", b"2"), ("test/dog/2.jpg", b"3")]);
    let folder =
        folder_of(&[("train-0.tar", &shards), ("test.tar", &folders), ("classes.txt", b"cat\ndog\n")]);
    let t = table(&folder, "");
    assert_eq!(all(&*t, "cls"), texts(&["cat", "dog", "dog", "cat"]));
    assert_eq!(all(&*t, "split"), texts(&["test", "test", "train", "train"]));
}

#[cfg(feature = "image")]
#[test]
fn idx_pairs_are_splits() {
    let images = |n: u8| {
        [&[0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 1, 0, 0, 0, 2][..], &vec![n; 2 * usize::from(n)]].concat()
    };
    let labels = |n: u8| [&[0, 0, 8, 1, 0, 0, 0, n][..], &(0..n).collect::<Vec<u8>>()].concat();
    let folder = folder_of(&[
        ("ok/t10k-images-idx3-ubyte", &images(1)),
        ("ok/t10k-labels-idx1-ubyte", &labels(1)),
        ("ok/train-images-idx3-ubyte", &images(2)),
        ("ok/train-labels-idx1-ubyte", &labels(2)),
        ("few-images-idx3-ubyte", &images(2)),
        ("few-labels-idx1-ubyte", &labels(1)),
        ("lone-images-idx3-ubyte", &images(2)),
        ("cut-images-idx3-ubyte", &images(3)[..20]),
        ("cut-labels-idx1-ubyte", &labels(3)),
        ("both/train-images-idx3-ubyte", &images(2)),
        ("both/train-images-idx3-ubyte.gz", &gzip(&images(2))),
        ("both/train-labels-idx1-ubyte", &labels(2)),
        ("both/train-labels-idx1-ubyte.gz", &gzip(&labels(2))),
    ]);
    let both = table(&folder, "both");
    assert_eq!((both.len(), both.skipped().len()), (2, 1));
    assert!(both.skipped()[0].0.ends_with("train-images-idx3-ubyte.gz"));
    let t = table(&folder, "ok");
    assert_eq!(t.fields(), ["image", "label", "split"]);
    assert_eq!(all(&*t, "split"), texts(&["train", "train", "test"]));
    assert_eq!(all(&*t, "label"), numbers(&[0.0, 1.0, 0.0]));
    let Value::Array(image) = t.value(2, "image").unwrap() else { panic!("an array") };
    assert_eq!((image.shape, image.numbers), (vec![1, 2], smalti_contract::Numbers::U8(vec![1, 1])));
    assert!(t.location(2).ends_with("ok/t10k-images-idx3-ubyte image 1"));
    for (path, expected) in [
        ("few-images-idx3-ubyte", "few-images-idx3-ubyte: expected a label for each of 2 images; found 1"),
        (
            "lone-images-idx3-ubyte",
            "lone-labels-idx1-ubyte: not found; expected the labels of lone-images-idx3-ubyte",
        ),
        (
            "cut-images-idx3-ubyte",
            "cut-images-idx3-ubyte: not readable as IDX: the header has 3×1×2 = 6 bytes",
        ),
    ] {
        assert!(refusal(&folder, path).starts_with(expected), "{}", refusal(&folder, path));
    }
    let builtin = opened("builtin:digits").unwrap();
    assert_eq!(
        (builtin.len(), builtin.value(0, "image").unwrap().describe()),
        (1797, "an array [8, 8]".into())
    );
}

#[cfg(feature = "image")]
#[test]
fn cifar_batches_have_class_names() {
    let row = |label: u8| [vec![label], vec![9; 3072]].concat();
    let names = b"cat\ndog\n\n";
    let folder = folder_of(&[
        ("ok/data_batch_1.bin", &[row(1), row(0)].concat()),
        ("ok/test_batch.bin", &row(1)),
        ("ok/batches.meta.txt", names),
        ("cut/data_batch_1.bin", &row(1)[..3000]),
    ]);
    let t = table(&folder, "ok");
    assert_eq!(all(&*t, "label"), texts(&["dog", "cat", "dog"]));
    assert_eq!(all(&*t, "split"), texts(&["train", "train", "test"]));
    assert_eq!(t.value(2, "image").unwrap().describe(), "an array [32, 32, 3]");
    assert!(
        refusal(&folder, "cut").starts_with("cut/data_batch_1.bin: not readable as CIFAR-10: 3000 bytes")
    );
}
