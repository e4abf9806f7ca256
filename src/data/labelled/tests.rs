use super::*;
use crate::data::testing::{at, folder_of, real, tar_of};

type Pairs = Vec<(String, u32)>;
type Skipped = Vec<(String, &'static str)>;

/// What a source holds: (path, label) of each picture, the classes, and what was skipped.
fn files(source: Labelled) -> (Pairs, Vec<String>, Skipped) {
    let Labelled::Files { sources, entries, classes, skipped } = source else { panic!("IDX") };
    assert!(entries.iter().all(|entry| sources[entry.source].contains(&entry.path)));
    (entries.into_iter().map(|entry| (entry.path, entry.label)).collect(), classes, skipped)
}

fn message(location: &str, split: Option<&str>) -> String {
    open(location, split).expect_err("an error").to_string()
}

fn pairs(pairs: &[(&str, u32)]) -> Pairs {
    pairs.iter().map(|(path, label)| (path.to_string(), *label)).collect()
}

#[test]
fn class_folders_are_labelled_by_name() {
    let folder = folder_of(&[
        ("dog/1.PNG", b"p"),
        ("cat/2.jpg", b"p"),
        ("cat/deep/1.png", b"p"),
        ("cat/notes.txt", b"n"),
        ("cat/scan.pdf", b"t"),
        ("loose.png", b"p"),
    ]);
    let (entries, classes, skipped) = files(open(&at(&folder, ""), None).unwrap());
    assert_eq!(entries, pairs(&[("cat/2.jpg", 0), ("cat/deep/1.png", 0), ("dog/1.PNG", 1)]));
    assert_eq!(classes, ["cat", "dog"]);
    let why: Vec<_> = skipped.iter().map(|(path, why)| (path.rsplit('/').next().unwrap(), *why)).collect();
    assert_eq!(
        why,
        [("notes.txt", "not a picture"), ("scan.pdf", "not a picture"), ("loose.png", "in no class folder")]
    );
}

#[test]
fn a_split_keeps_the_labels_of_the_whole() {
    let members: [(&str, &[u8]); 4] =
        [("train/cat/1.png", b"p"), ("train/dog/1.png", b"p"), ("test/dog/1.png", b"p"), ("README.md", b"r")];
    let folder = folder_of(&[("all.tar", &tar_of(&members))]);
    let location = at(&folder, "all.tar");
    let (entries, classes, skipped) = files(open(&location, Some("test")).unwrap());
    assert_eq!(entries, pairs(&[("test/dog/1.png", 1)]));
    assert_eq!(classes, ["cat", "dog"]);
    assert_eq!(skipped.len(), 1);
    assert!(message(&location, None).contains("several splits; choose one of test, train"));
    assert!(message(&location, Some("dev")).contains("no split \"dev\"; there is test, train"));
}

#[test]
fn a_single_split_needs_no_name() {
    let folder = folder_of(&[("test/cat/1.png", b"p"), ("test/dog/2.png", b"p")]);
    let expected = pairs(&[("test/cat/1.png", 0), ("test/dog/2.png", 1)]);
    assert_eq!(files(open(&at(&folder, ""), None).unwrap()).0, expected);
    assert_eq!(
        files(open(&at(&folder, "test"), None).unwrap()).0,
        pairs(&[("cat/1.png", 0), ("dog/2.png", 1)])
    );
    assert!(message(&at(&folder, ""), Some("train")).contains("no split \"train\"; there is test"));
}

#[test]
fn classes_txt_gives_the_order_and_must_name_every_class() {
    let folder = folder_of(&[("classes.txt", b"dog\ncat\n"), ("cat/1.png", b"p"), ("dog/1.png", b"p")]);
    let (entries, classes, skipped) = files(open(&at(&folder, ""), None).unwrap());
    assert_eq!(
        (entries, classes),
        (pairs(&[("cat/1.png", 1), ("dog/1.png", 0)]), vec!["dog".to_string(), "cat".to_string()])
    );
    assert!(skipped.is_empty());
    for (classes, expected) in [
        ("dog\n", "\"cat\", which is not in classes.txt: dog"),
        ("dog\n\ncat", "line 2 is blank"),
        ("a\na", "\"a\" is listed twice"),
    ] {
        std::fs::write(folder.path().join("classes.txt"), classes).unwrap();
        let message = message(&at(&folder, ""), None);
        assert!(message.contains(expected), "{message}");
    }
}

fn shard(first: u32, labels: &[&str]) -> Vec<u8> {
    let names: Vec<_> = (first..)
        .zip(labels)
        .map(|(i, label)| (format!("{i:06}.jpg"), format!("{i:06}.cls"), label))
        .collect();
    let members: Vec<(&str, &[u8])> = names
        .iter()
        .flat_map(|(jpg, cls, label)| [(jpg.as_str(), &b"p"[..]), (cls.as_str(), label.as_bytes())])
        .collect();
    tar_of(&members)
}

#[test]
fn shards_are_one_source_each_in_the_order_of_their_names() {
    let folder = folder_of(&[
        ("train-0001.tar", &shard(2, &["0"])),
        ("train-0000.tar", &shard(0, &["2\n", "1"])),
        ("test.tar", &shard(9, &["1"])),
        ("README", b"r"),
        ("classes.txt", b"a\nb\nc\n"),
    ]);
    let expected = pairs(&[("000000.jpg", 2), ("000001.jpg", 1), ("000002.jpg", 0)]);
    let (entries, classes, skipped) = files(open(&at(&folder, ""), Some("train")).unwrap());
    assert_eq!((entries, classes), (expected.clone(), ["a", "b", "c"].map(String::from).to_vec()));
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert_eq!(files(open(&at(&folder, "train-*.tar"), None).unwrap()).0, expected);
    assert_eq!(files(open(&at(&folder, "train-000?.tar"), Some("train")).unwrap()).0, expected);
    assert_eq!(files(open(&at(&folder, "test.tar"), None).unwrap()).0, pairs(&[("000009.jpg", 1)]));
    assert_eq!(files(open(&at(&folder, ""), Some("test")).unwrap()).0, pairs(&[("000009.jpg", 1)]));
    assert!(message(&at(&folder, ""), None).contains("several splits; choose one of test, train"));
    assert!(message(&at(&folder, ""), Some("dev")).contains("no split \"dev\"; there is test, train"));
    assert!(message(&at(&folder, "val-*.tar"), None).contains("not found; expected tar archives"));
}

#[test]
fn without_classes_txt_classes_are_named_by_number() {
    let folder = folder_of(&[("s.tar", &shard(0, &["0", "3"])), ("high.tar", &shard(0, &["4000000000"]))]);
    assert_eq!(files(open(&at(&folder, "s.tar"), None).unwrap()).1, ["0", "1", "2", "3"]);
    assert!(message(&at(&folder, "high.tar"), None).contains("a label is 4000000000"));
    std::fs::write(folder.path().join("classes.txt"), "a\nb\n").unwrap();
    assert!(message(&at(&folder, "s.tar"), None).contains("a label is 3, but classes.txt names 2 classes"));
}

#[test]
fn what_belongs_to_no_sample_is_counted() {
    let members: [(&str, &[u8]); 7] = [
        ("a.jpg", b"p"),
        ("a.cls", b"0"),
        ("a.png", b"p"),
        ("a.json", b"{}"),
        ("b.jpg", b"p"),
        ("c.cls", b"1"),
        ("d.cls", b"1"),
    ];
    let folder = folder_of(&[("s.tar", &tar_of(&members)), ("none.tar", &tar_of(&members[5..]))]);
    let (entries, _, skipped) = files(open(&at(&folder, "s.tar"), None).unwrap());
    assert_eq!(entries, pairs(&[("a.jpg", 0)]));
    let why: Vec<_> = skipped.iter().map(|(path, why)| (path.rsplit('/').next().unwrap(), *why)).collect();
    assert_eq!(
        why,
        [
            ("a.json", "neither a picture nor a label"),
            ("a.png", "a second picture of the same sample"),
            ("b.jpg", "a picture without a label"),
            ("c.cls", "a label without a picture"),
            ("d.cls", "a label without a picture"),
        ]
    );
    assert!(message(&at(&folder, "none.tar"), None).contains("no picture has a .cls beside it"));
}

#[test]
fn labels_are_numbers() {
    for (label, found) in [("cat", "\"cat\""), ("-1", "\"-1\""), ("1.5", "\"1.5\"")] {
        let folder = folder_of(&[("s.tar", &shard(0, &[label]))]);
        let message = message(&at(&folder, "s.tar"), None);
        assert!(message.contains("s.tar/000000.cls") && message.contains(found), "{message}");
    }
}

#[test]
fn idx_files_are_paired_by_name() {
    let folder = folder_of(&[
        ("train-images-idx3-ubyte.gz", b"1"),
        ("train-labels-idx1-ubyte", b"1"),
        ("t10k-images-idx3-ubyte", b"1"),
        ("t10k-labels-idx1-ubyte.gz", b"1"),
        ("lone/train-images-idx3-ubyte", b"1"),
    ]);
    let expect = |location: &str, split, images, labels| match open(&at(&folder, location), split).unwrap() {
        Labelled::Idx { images: i, labels: l } => {
            assert_eq!((i, l), (at(&folder, images), at(&folder, labels)))
        }
        other => panic!("{other:?}"),
    };
    expect("train-images-idx3-ubyte.gz", None, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte");
    assert!(message(&at(&folder, "lone"), None).contains("train-labels-idx1-ubyte: not found"));
    std::fs::remove_dir_all(folder.path().join("lone")).unwrap();
    for location in ["", "."] {
        let folder_location = at(&folder, location);
        assert!(matches!(open(&folder_location, Some("test")).unwrap(), Labelled::Idx { images, labels }
            if images.ends_with("/t10k-images-idx3-ubyte") && labels.ends_with("/t10k-labels-idx1-ubyte.gz")));
    }
    assert!(message(&at(&folder, ""), None).contains("several IDX files; choose one split of test, train"));
    assert!(message(&at(&folder, ""), Some("val")).contains("no split \"val\"; there is test, train"));
    assert!(
        message(&at(&folder, "t10k-images-idx3-ubyte"), Some("train"))
            .contains("no split \"train\"; there is test")
    );
    assert!(
        message(&at(&folder, "gone-images-idx3-ubyte"), None).contains("gone-images-idx3-ubyte: not found")
    );
}

#[test]
fn nothing_labelled_is_an_error() {
    let folder = folder_of(&[("a.txt", b"t"), ("b.png", b"p")]);
    assert!(
        message(&at(&folder, ""), None)
            .contains("no picture in a class folder (class/name.png) among 2 files")
    );
    assert!(message(&at(&folder, "none"), None).contains("not found"));
    assert!(
        message(&at(&folder, "a.txt"), None).contains("a.txt: a file; expected a folder or a tar archive")
    );
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn cifar10_has_its_counts() {
    let (shard, classes, skipped) = files(open(&real("image/cifar10/train-0000.tar"), None).unwrap());
    assert_eq!((shard.len(), classes.len(), skipped.len()), (10_000, 10, 0));
    assert_eq!(shard[0], ("000000.jpg".to_string(), 1));
    for (location, split) in [("image/cifar10/train-*.tar", None), ("image/cifar10", Some("train"))] {
        let (train, classes, skipped) = files(open(&real(location), split).unwrap());
        assert_eq!((train.len(), skipped.len()), (50_000, 0));
        assert_eq!(classes[0], "airplane");
        for class in 0..10 {
            assert_eq!(train.iter().filter(|(_, label)| *label == class).count(), 5000);
        }
    }
    for (location, split) in [("image/cifar10/test.tar", None), ("image/cifar10", Some("test"))] {
        let Labelled::Files { sources, entries, classes, skipped } = open(&real(location), split).unwrap()
        else {
            panic!("IDX")
        };
        assert_eq!((entries.len(), classes.len(), skipped.len()), (5_000, 10, 0));
        assert_eq!(sources[0].read(&entries[0].path).unwrap()[..2], [0xff, 0xd8]);
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn mnist_is_paired() {
    for (split, name, count) in [("train", "train", 60_000u32), ("test", "t10k", 10_000)] {
        let Labelled::Idx { images, labels } = open(&real("image/mnist"), Some(split)).unwrap() else {
            panic!("files")
        };
        assert_eq!(images, real(&format!("image/mnist/{name}-images-idx3-ubyte.gz")));
        let labels = crate::data::read(&labels).unwrap();
        assert_eq!(labels[4..8], count.to_be_bytes());
        assert_eq!(labels.len(), 8 + count as usize);
    }
}

#[test]
fn cifar_batches_are_split_by_their_names() {
    let folder = folder_of(&[
        ("data_batch_2.bin", b"2"),
        ("data_batch_1.bin", b"1"),
        ("test_batch.bin", b"t"),
        ("batches.meta.txt", b"airplane\nautomobile\n\n"),
        ("readme.html", b"r"),
    ]);
    let location = at(&folder, "");
    let of = |split| match open(&location, Some(split)).unwrap() {
        Labelled::Cifar { batches, classes } => {
            assert_eq!(classes, ["airplane", "automobile"]);
            batches.iter().map(|path| path.rsplit('/').next().unwrap().to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of("train"), ["data_batch_1.bin", "data_batch_2.bin"]);
    assert_eq!(of("test"), ["test_batch.bin"]);
    assert!(message(&location, None).contains("several splits; choose one of test, train"));
    assert!(message(&location, Some("dev")).contains("no split \"dev\"; there is test, train"));
}

#[test]
fn a_manifest_labels_pictures_wherever_they_lie() {
    let table = b"path,label,split,fold\na/1.png,cat,train,1\nb/2.png,dog,train,2\nb/3.png,ant,test,3\n";
    let folder = folder_of(&[
        ("m.csv", table),
        ("a/1.png", b"one"),
        ("b.tar", &tar_of(&[("2.png", b"two"), ("b/3.png", b"three")])),
    ]);
    let of = |split: &str| match open(&at(&folder, "m.csv"), Some(split)).unwrap() {
        Labelled::Files { sources, entries, classes, skipped } => {
            assert_eq!((classes, skipped.len()), (vec!["ant".to_string(), "cat".into(), "dog".into()], 0));
            let read = |entry: &Entry| (sources[entry.source].read(&entry.path).unwrap(), entry.label);
            entries.iter().map(read).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of("train"), [(b"one".to_vec(), 1), (b"two".to_vec(), 2)]);
    assert_eq!(of("test"), [(b"three".to_vec(), 0)]);
    assert_eq!(of("fold<2"), [(b"one".to_vec(), 1)]);
    assert!(message(&at(&folder, "m.csv"), None).contains("several splits; choose one of test, train"));
    assert!(message(&at(&folder, "m.csv"), Some("dev")).contains("no split \"dev\"; there is test, train"));
    assert!(message(&at(&folder, "m.csv"), Some("size>2")).contains("no column \"size\""));
    std::fs::rename(folder.path().join("m.csv"), folder.path().join("manifest.csv")).unwrap();
    assert!(open(&at(&folder, ""), Some("train")).is_ok(), "a folder's own manifest");
    std::fs::write(folder.path().join("classes.txt"), "dog\ncat\n").unwrap();
    let unknown = message(&at(&folder, ""), Some("test"));
    assert!(unknown.contains("of class \"ant\", which is not in classes.txt: cat, dog"), "{unknown}");
}

#[test]
fn classes_that_are_numbers_are_sorted_as_numbers() {
    let folder =
        folder_of(&[("m.tsv", b"path\tlabel\na.png\t10\nb.png\t2\n"), ("n.tsv", b"path\ttext\na\tb\n")]);
    let Labelled::Files { entries, classes, .. } = open(&at(&folder, "m.tsv"), None).unwrap() else {
        panic!("not files")
    };
    assert_eq!(classes, ["2", "10"]);
    assert_eq!(entries.iter().map(|entry| entry.label).collect::<Vec<_>>(), [1, 0]);
    assert!(message(&at(&folder, "n.tsv"), None).contains("no column \"label\"; there is path, text"));
    assert!(message(&at(&folder, "m.tsv"), Some("train")).contains("no column \"split\""));
}

#[test]
fn shards_are_named_by_braces() {
    let folder = folder_of(&[("s-00.tar", &shard(0, &["1"])), ("s-01.tar", &shard(5, &["0"]))]);
    let (entries, classes, _) = files(open(&at(&folder, "s-{00..01}.tar"), None).unwrap());
    assert_eq!((entries, classes.len()), (pairs(&[("000000.jpg", 1), ("000005.jpg", 0)]), 2));
    assert!(message(&at(&folder, "s-{00..02}.tar"), None).contains("s-02.tar: not found"));
}
