//! Folders as they lie: class folders in many spellings, tables that name files, zip archives.

use super::*;
use crate::data::testing::{folder_of, tar_of, zip_of};
use crate::table::select;

/// The paths that a table skips, without the folder.
fn skipped(folder: &tempfile::TempDir, table: &dyn Table) -> Vec<String> {
    table.skipped().iter().map(|(path, _)| path.replace(&at(folder, ""), "")).collect()
}

fn count(table: &dyn Table, filter: &str) -> usize {
    select(table, filter).unwrap().unwrap().len()
}

#[test]
fn folders_of_splits_have_many_spellings_and_lie_deeper() {
    for (train, test, above) in
        [("Training", "Testing", ""), ("training_set", "test_set", "brain/"), ("train", "Val", "data/v1/")]
    {
        let paths = [
            format!("{above}{train}/cat/1.png"),
            format!("{above}{train}/dog/2.png"),
            format!("{above}{test}/cat/3.png"),
        ];
        let files: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), &b"x"[..])).collect();
        let folder = folder_of(&files);
        std::fs::write(at(&folder, "README.md"), "about").unwrap();
        let t = table(&folder, "");
        assert_eq!(t.fields(), ["file", "label", "split"], "{train}");
        assert_eq!([count(&*t, "label = cat"), count(&*t, "label = dog")], [2, 1]);
        assert_eq!([count(&*t, "split = train"), count(&*t, "split = train & label = dog")], [2, 1]);
        assert_eq!(skipped(&folder, &*t), ["README.md"]);
        assert_eq!(present(&*t, "split").len(), 3);
    }
}

#[test]
fn a_folder_around_the_classes_is_no_class() {
    let folder = folder_of(&[
        ("a/pets/cat/1.wav", b"1"),
        ("a/pets/dog/x/2.wav", b"2"),
        ("b/cat/1.png", b"1"),
        ("b/cat/2.png", b"2"),
        ("c/data/Training/1.png", b"1"),
        ("c/data/Testing/2.png", b"2"),
        ("d/train/a.txt", b"1"),
        ("d/Testing/x/b.txt", b"2"),
    ]);
    assert_eq!(all(&*table(&folder, "a"), "label"), texts(&["cat", "dog"]));
    assert_eq!(all(&*table(&folder, "b"), "label"), texts(&["cat", "cat"]));
    let unsorted = table(&folder, "c");
    assert_eq!(unsorted.fields(), ["file", "split"]);
    assert_eq!(all(&*unsorted, "split"), texts(&["test", "train"]));
    let texts_in_splits = opened_as("text", &at(&folder, "d")).unwrap();
    assert_eq!(all(&*texts_in_splits, "split"), texts(&["test", "train"]));
}

#[test]
fn hidden_files_are_neither_classes_nor_samples() {
    let files: [(&str, &[u8]); 6] = [
        ("a/0.png", b"0"),
        ("a/._0.png", b"x"),
        ("b/1.png", b"1"),
        ("b/Thumbs.db", b"x"),
        ("__MACOSX/a/._0.png", b"x"),
        (".ipynb_checkpoints/0-checkpoint.png", b"x"),
    ];
    let folder = folder_of(&[("t.tar", &tar_of(&files)), ("t.zip", &zip_of(&files))]);
    for (path, bytes) in files {
        let path = folder.path().join("pets").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    for place in ["pets", "t.tar", "t.zip"] {
        let t = table(&folder, place);
        assert_eq!(all(&*t, "label"), texts(&["a", "b"]), "{place}");
        let hidden = [".ipynb_checkpoints", "__MACOSX", "a/._0.png", "b/Thumbs.db"];
        assert_eq!(skipped(&folder, &*t), hidden.map(|path| format!("{place}/{path}")));
    }
}

#[test]
fn zip_archives_are_read_as_tars_are() {
    let shard = zip_of(&[("0.png", b"0"), ("0.cls", b"1"), ("1.png", b"1"), ("1.cls", b"0")]);
    let clips = zip_of(&[("recordings/a.wav", b"A"), ("b.wav", b"B")]);
    let folder = folder_of(&[
        ("photos.zip", &zip_of(&[("photos/train/cat/1.png", b"1"), ("photos/test/dog/2.png", b"2")])),
        ("shards/train-0.zip", &shard),
        ("shards/valid-0.zip", &shard),
        ("speech/manifest.csv", b"path,text\nrecordings/a.wav,one\nrecordings/b.wav,two\n"),
        ("speech/recordings.zip", &clips),
    ]);
    let photos = table(&folder, "photos.zip");
    assert_eq!(all(&*photos, "label"), texts(&["dog", "cat"]));
    assert_eq!(all(&*photos, "split"), texts(&["test", "train"]));
    assert_eq!(file(photos.value(1, "file").unwrap()).1, b"1");
    assert!(photos.origin(0).is_some());
    let shards = table(&folder, "shards");
    assert_eq!(all(&*shards, "cls"), texts(&["1", "0", "1", "0"]));
    assert_eq!(all(&*shards, "split"), texts(&["train", "train", "validation", "validation"]));
    let speech = table(&folder, "speech");
    let bytes = |row| file(speech.value(row, "path").unwrap()).1;
    assert_eq!((bytes(0), bytes(1)), (b"A".to_vec(), b"B".to_vec()));
    assert!(speech.origin(1).unwrap().contains("recordings.zip"));
}

#[test]
fn metadata_names_the_files_of_its_folder() {
    let folder = folder_of(&[
        ("one/metadata.jsonl", b"{\"file_name\": \"x/1.png\", \"text\": \"a cat\"}\n"),
        ("one/x/1.png", b"1"),
        ("one/x/2.png", b"2"),
        ("one/.DS_Store", b"x"),
        ("two/train/metadata.csv", b"file_name,label\n1.wav,a\n2.wav,b\n"),
        ("two/train/1.wav", b"1"),
        ("two/train/2.wav", b"2"),
        ("two/Valid/metadata.csv", b"file_name,label\n1.wav,b\n"),
        ("two/Valid/1.wav", b"3"),
        ("both/metadata.csv", b"file_name\n1.png\n"),
        ("both/metadata.jsonl", b"{\"file_name\": \"1.png\"}\n"),
        ("both/1.png", b"1"),
    ]);
    let one = table(&folder, "one");
    assert_eq!((one.fields(), one.len()), (&["file_name", "text"].map(String::from)[..], 1));
    assert_eq!(file(one.value(0, "file_name").unwrap()), ("x/1.png".into(), b"1".to_vec()));
    assert_eq!(skipped(&folder, &*one), ["one/.DS_Store", "one/x/2.png"]);
    assert_eq!(one.skipped()[1].1, "no row names it");
    let two = table(&folder, "two");
    assert_eq!(two.fields(), ["file_name", "label", "split"]);
    assert_eq!(all(&*two, "split"), texts(&["validation", "train", "train"]));
    assert_eq!(file(two.value(0, "file_name").unwrap()).1, b"3");
    assert!(skipped(&folder, &*two).is_empty());
    assert!(refusal(&folder, "both").contains(
        "expected one metadata file in a folder; found metadata.csv, metadata.jsonl; name one of them"
    ));
}

#[test]
fn the_ids_of_a_table_name_images_beside_it() {
    let train = b"id,label,colour\n007,cat,red\n1,dog,blue\n";
    let folder = folder_of(&[
        ("k/train.csv", train),
        ("k/test.csv", b"id\n3\n"),
        ("k/sample_submission.csv", b"id,label\n3,cat\n"),
        ("k/train/007.jpg", b"7"),
        ("k/train/1.png", b"1"),
        ("k/train/2.png", b"2"),
        ("k/test/3.jpg", b"3"),
        ("zipped/labels.csv", b"image,label\n1.png,a\n2.png,b\n"),
        ("zipped/images.zip", &zip_of(&[("images/1.png", b"1"), ("images/2.png", b"2")])),
        ("own/labels.tsv", b"image\tx\n1.png\t1\n2.png\t2\n"),
        ("own/1.png", b"1"),
        ("own/2.png", b"2"),
        ("several/a.csv", b"id\n1\n"),
        ("several/b.csv", b"id\n1\n"),
        ("several/images/1.png", b"1"),
    ]);
    let k = table(&folder, "k");
    assert_eq!(k.fields(), ["id", "file", "split", "label", "colour"]);
    assert_eq!(all(&*k, "split"), texts(&["test", "train", "train"]));
    assert_eq!(all(&*k, "label"), texts(&["", "cat", "dog"]));
    assert_eq!(file(k.value(1, "file").unwrap()), ("train/007.jpg".into(), b"7".to_vec()));
    assert_eq!(file(k.value(0, "file").unwrap()).1, b"3");
    assert_eq!(skipped(&folder, &*k), ["k/train/2.png"]);
    let alone = table(&folder, "k/train.csv");
    assert_eq!((alone.fields(), alone.len()), (&["id", "label", "colour", "file"].map(String::from)[..], 2));
    assert_eq!(all(&*alone, "id"), texts(&["007", "1"]));
    let zipped = table(&folder, "zipped/labels.csv");
    assert_eq!(file(zipped.value(1, "file").unwrap()), ("images/2.png".into(), b"2".to_vec()));
    let own = table(&folder, "own");
    assert_eq!(file(own.value(0, "file").unwrap()), ("1.png".into(), b"1".to_vec()));
    assert!(
        refusal(&folder, "several").contains("expected one table of images or clips; found a.csv, b.csv")
    );
}

#[test]
fn ids_may_repeat_and_files_may_be_missing() {
    let ids = (0..10).map(|id| format!("{},{id}\n", id % 2)).collect::<String>();
    let twice = format!("label,id\n{ids}{ids}");
    let images: Vec<String> = (0..9).map(|id| format!("k/train/{id}.png")).collect();
    let mut files: Vec<(&str, &[u8])> = images.iter().map(|path| (path.as_str(), &b"x"[..])).collect();
    files.push(("k/train.csv", twice.as_bytes()));
    let folder = folder_of(&files);
    let k = table(&folder, "k");
    assert_eq!((k.len(), k.fields()), (20, &["label", "id", "file"].map(String::from)[..]));
    assert_eq!(file(k.value(18, "file").unwrap()).0, "train/8.png");
    let missing = without(&folder, &k.value(19, "file").unwrap_err());
    assert_eq!(missing, "k/train/9: not found; expected a file that k/train.csv row 20 names");
}

#[test]
fn tables_of_images_lie_in_archives_and_in_a_folder_of_their_own() {
    let train = b"id,label\n007,cat\n1,dog\n";
    let inner: [(&str, &[u8]); 3] =
        [("kg/train.csv", train), ("kg/train/007.jpg", b"7"), ("kg/train/1.png", b"1")];
    let images = zip_of(&[("007.jpg", b"7"), ("1.png", b"1")]);
    let folder = folder_of(&[
        ("deep/kg/train.csv", train),
        ("deep/kg/train/007.jpg", b"7"),
        ("deep/kg/train/1.png", b"1"),
        ("kg.zip", &zip_of(&inner)),
        ("packed/train.csv", train),
        ("packed/train.zip", &images),
        ("paths/list.csv", b"path,label\na/1.png,x\n"),
        ("paths/a/1.png", b"1"),
        ("beside/list.csv", b"name,age\nAda,36\n"),
        ("beside/a/1.png", b"1"),
        ("beside/b/1.png", b"1"),
    ]);
    for path in ["deep", "kg.zip", "packed"] {
        let k = table(&folder, path);
        assert_eq!(k.fields(), ["id", "label", "file"], "{path}");
        assert_eq!(file(k.value(0, "file").unwrap()).1, b"7", "{path}");
    }
    assert_eq!(table(&folder, "paths").fields(), ["path", "label"]);
    let beside = table(&folder, "beside");
    assert_eq!(beside.fields(), ["file", "label"]);
    let skipped: Vec<&str> = beside.skipped().iter().map(|(_, why)| *why).collect();
    assert_eq!(skipped, ["no column names the files"]);
}

#[test]
fn tables_lie_in_archives_and_beside_descriptions() {
    let tables: [(&str, &[u8]); 2] = [("tt/train.csv", b"x\n1\n"), ("tt/val.csv", b"x\n2\n")];
    let folder = folder_of(&[
        ("tt.zip", &zip_of(&tables)),
        ("beside/reviews_train.csv", b"x\n1\n"),
        ("beside/reviews_val.csv", b"x\n2\n"),
        ("beside/README.md", b"# Reviews"),
        ("beside/LICENSE", b"MIT"),
        ("beside/card.yaml", b"a: 1"),
        ("beside/page.html", b"<html>"),
        ("shard.zip", &zip_of(&[("0.csv", b"x\n1\n"), ("0.json", b"{}")])),
    ]);
    for path in ["tt.zip", "beside"] {
        let rows = table(&folder, path);
        assert_eq!(rows.fields(), ["x", "split"], "{path}");
        assert_eq!(all(&*rows, "split"), texts(&["train", "validation"]), "{path}");
    }
    assert_ne!(table(&folder, "shard.zip").fields(), ["x"]);
    let refused = refusal_as(&folder, "rows", "shard.zip");
    assert!(refused.contains("expected a table"), "{refused}");
}

#[test]
fn ordinary_tables_name_no_files() {
    let folder = folder_of(&[
        ("images/1.png", b"1"),
        ("images/2.png", b"2"),
        ("some_are_missing.csv", b"n\n1\n2\n3\n"),
        ("classes.csv", format!("n\n{}", "1\n2\n".repeat(20)).as_bytes()),
        ("other.csv", b"name,age\nAda,36\n"),
        ("files.csv", b"path,n\nimages/1.png,1\n"),
        ("headless.csv", b"1.png,a\n2.png,b\n"),
    ]);
    for (path, fields) in [
        ("some_are_missing.csv", &["n"][..]),
        ("classes.csv", &["n"]),
        ("other.csv", &["name", "age"]),
        ("files.csv", &["path", "n"]),
    ] {
        assert_eq!(table(&folder, path).fields(), fields, "{path}");
    }
    let headless = refusal(&folder, "headless.csv");
    assert!(
        headless.contains("line 1 names the file 1.png; if the file has no header, name its columns"),
        "{headless}"
    );
}

#[test]
fn files_outside_the_folder_need_a_setting() {
    let folder = folder_of(&[("m/manifest.csv", b""), ("out.wav", b"O"), ("m/in.wav", b"I")]);
    let absolute = at(&folder, "out.wav");
    std::fs::write(at(&folder, "m/manifest.csv"), format!("path,n\n{absolute},1\n../out.wav,2\nin.wav,3\n"))
        .unwrap();
    let t = table(&folder, "m");
    assert_eq!(file(t.value(2, "path").unwrap()).1, b"I");
    for row in [0, 1] {
        let error = t.value(row, "path").unwrap_err().to_string();
        assert!(error.contains("allow_outside = true"), "{error}");
        assert!(t.origin(row).is_none());
    }
    let source = |path: &str| Source { allow_outside: true, ..Source::new(at(&folder, path)) };
    let t = SourceRegistry::builtin().open(&source("m")).unwrap();
    for row in 0..3 {
        assert_eq!(file(t.value(row, "path").unwrap()).1, [b"O", b"O", b"I"][row]);
        assert!(t.origin(row).is_some());
    }
    let archive = tar_of(&[("manifest.csv", b"path\n../out.wav\n")]);
    std::fs::write(at(&folder, "t.tar"), archive).unwrap();
    let t = SourceRegistry::builtin().open(&source("t.tar")).unwrap();
    let error = t.value(0, "path").unwrap_err().to_string();
    assert!(error.contains("is for tables on disk"), "{error}");
    let set: Source = serde_json::from_str("{\"path\": \"p\", \"allow_outside\": true}").unwrap();
    assert!(set.allow_outside && serde_json::to_string(&set).unwrap().contains("allow_outside"));
}
