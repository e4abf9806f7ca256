use super::*;
use crate::data::testing::{at, folder_of, real, tar_of};
use proptest::prelude::*;

const TABLE: &[u8] = b"path\ttext\tspeaker\tindex\n\
    recordings/a.wav\tone\tann\t2\n\
    recordings/b.wav\ttwo\tbob\t10\n\
    recordings/c.wav\tthree three\tann\t30\n";

fn message<T>(result: Result<T, DataError>) -> String {
    result.err().expect("an error").to_string()
}

fn chosen(manifest: &Manifest, filter: &str) -> Vec<String> {
    let rows = manifest.select(&Filter::parse(filter).unwrap()).unwrap();
    rows.iter().map(|row| row.path().trim_start_matches("recordings/").to_string()).collect()
}

#[test]
fn rows_have_fields_and_filters_choose_among_them() {
    let folder = folder_of(&[("manifest.tsv", TABLE)]);
    let manifest = Manifest::open(&at(&folder, "manifest.tsv")).unwrap();
    assert_eq!(manifest.columns(), ["path", "text", "speaker", "index"]);
    assert_eq!(manifest.rows().len(), 3);
    let row = &manifest.rows()[2];
    assert_eq!(
        (row.path(), row.text(), row.get("index"), row.get("age")),
        ("recordings/c.wav", "three three", Some("30"), None)
    );
    // 2 < 10 as numbers, not as text.
    assert_eq!(chosen(&manifest, "index>=10"), ["b.wav", "c.wav"]);
    assert_eq!(chosen(&manifest, "index>=2.0 & index <30"), ["a.wav", "b.wav"]);
    assert_eq!(chosen(&manifest, "index>=5&speaker!=ann"), ["b.wav"]);
    assert_eq!(chosen(&manifest, "text=three three"), ["c.wav"]);
    assert_eq!(chosen(&manifest, "index<=10"), ["a.wav", "b.wav"]);
    assert_eq!(chosen(&manifest, "index == 2"), ["a.wav"]);
    assert_eq!(chosen(&manifest, "speaker>bo"), ["b.wav"]);
    assert!(chosen(&manifest, "index>30").is_empty());
    let unknown = manifest.select(&Filter::parse("age>3").unwrap());
    assert!(message(unknown).contains("no column \"age\"; there is path, text, speaker, index"));
}

#[test]
fn a_filter_that_says_nothing_is_refused() {
    for filter in ["", "index", "index>=", ">=5", "index>=5 &", "index=>5", "index!5", "a=b=c"] {
        match Filter::parse(filter) {
            Err(error) => assert!(error.to_string().contains("is not a column"), "{filter}"),
            Ok(_) => assert_eq!(filter, "a=b=c"),
        }
    }
}

#[test]
fn files_are_read_from_disk_or_from_the_archive_beside() {
    let with_folder = tar_of(&[("recordings/a.wav", b"A"), ("recordings/b.wav", b"B")]);
    let without = tar_of(&[("a.wav", b"A"), ("b.wav", b"B")]);
    for archive in [with_folder, without] {
        let folder = folder_of(&[
            ("manifest.tsv", TABLE),
            ("recordings.tar", &archive),
            ("recordings/b.wav", b"on disk"),
        ]);
        for location in [at(&folder, "manifest.tsv"), at(&folder, "")] {
            let manifest = Manifest::open(&location).unwrap();
            let read: Vec<_> = manifest.rows().iter().map(Row::read).collect();
            assert_eq!(read[0].as_ref().unwrap(), b"A");
            assert_eq!(read[1].as_ref().unwrap(), b"on disk");
            let missing = read[2].as_ref().unwrap_err().to_string();
            assert!(
                missing.contains("recordings/c.wav: not found") && missing.contains("recordings.tar"),
                "{missing}"
            );
        }
    }
}

#[test]
fn a_manifest_may_lie_in_the_archive() {
    let archive = tar_of(&[("recordings/a.wav", b"A"), ("recordings/b.wav", b"B"), ("manifest.tsv", TABLE)]);
    let nested = tar_of(&[("sub/manifest.tsv", TABLE), ("sub/recordings.tar", &tar_of(&[("a.wav", b"A")]))]);
    let folder = folder_of(&[("x.tar", &archive), ("y.tar", &nested)]);
    for location in ["x.tar", "x.tar/manifest.tsv", "y.tar/sub", "y.tar/sub/manifest.tsv"] {
        let manifest = Manifest::open(&at(&folder, location)).unwrap();
        assert_eq!(manifest.rows()[0].read().unwrap(), b"A", "{location}");
        assert!(matches!(manifest.rows()[2].read(), Err(DataError::Missing { .. })));
    }
    let lone = folder_of(&[("x.tar", &tar_of(&[("a", b"1")]))]);
    assert!(message(Manifest::open(&at(&lone, "x.tar"))).contains("manifest.tsv: not found"));
}

#[test]
fn every_format_gives_the_same_table() {
    let expected = (["path", "text", "index"], [["a.wav", "one, two", "1"], ["b.wav", "", "2.5"]]);
    let folder = folder_of(&[
        ("t.tsv", b"path\ttext\tindex\na.wav\tone, two\t1\nb.wav\t\t2.5\n"),
        ("t.csv", b"path,text,index\r\na.wav,\"one, two\",1\r\nb.wav,,2.5\r\n"),
        (
            "t.jsonl",
            b"{\"path\":\"a.wav\",\"text\":\"one, two\",\"index\":1}\n\n\
            {\"text\":null,\"path\":\"b.wav\",\"index\":2.5}\n",
        ),
        ("u.csv.gz", &crate::data::testing::gzip(b"path,text,index\na.wav,\"one, two\",1\nb.wav,,2.5\n")),
    ]);
    for name in ["t.tsv", "t.csv", "t.jsonl", "u.csv.gz"] {
        let manifest = Manifest::open(&at(&folder, name)).unwrap();
        let mut columns: Vec<&str> = manifest.columns().iter().map(String::as_str).collect();
        // An object's keys have no order.
        columns.sort_by_key(|column| expected.0.iter().position(|known| known == column));
        assert_eq!(columns, expected.0, "{name}");
        let fields = manifest.rows().iter().map(|row| expected.0.map(|column| row.get(column).unwrap()));
        assert_eq!(fields.collect::<Vec<_>>(), expected.1, "{name}");
    }
}

#[test]
fn a_broken_table_of_another_format_says_where() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("m.csv", b"path,text\na\n", "record 1 (line: 2"),
        ("m.csv", b"path,text\n", "empty; expected rows"),
        ("m.csv", b"path,path,text\na,b,c\n", "the column \"path\" is there twice"),
        (
            "m.jsonl",
            b"{\"path\":\"a\",\"text\":\"t\"}\n{\"path\":\"b\"}\n",
            "line 2: 1 keys; the first line has 2",
        ),
        ("m.jsonl", b"{\"path\":\"a\",\"text\":[1]}\n", "line 1: \"text\" is neither a text nor a number"),
        ("m.jsonl", b"{\"path\":\"a\",\"text\":\"t\"}\nnothing\n", "line 2: "),
        ("m.jsonl", b"{\"path\":\"a\"}\n", "no column \"text\"; there is path"),
        ("m.parquet", b"PAR1 and no more", "not readable as Parquet"),
    ];
    for (name, table, expected) in cases {
        let folder = folder_of(&[(name, table)]);
        let message = message(Manifest::open(&at(&folder, name)));
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
}

#[test]
fn a_folder_has_one_manifest_of_any_format() {
    let folder = folder_of(&[("manifest.csv", b"path,text\na,b\n")]);
    assert_eq!(Manifest::open(&at(&folder, "")).unwrap().rows()[0].text(), "b");
    std::fs::write(folder.path().join("manifest.jsonl"), "{}").unwrap();
    let several = message(Manifest::open(&at(&folder, "")));
    assert!(several.contains("several manifests; name one: manifest.csv, manifest.jsonl"), "{several}");
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_are_taken() {
    let folder = folder_of(&[("m.tsv", "\u{feff}path\ttext\r\na.wav\tone\r\n".as_bytes())]);
    let manifest = Manifest::open(&at(&folder, "m.tsv")).unwrap();
    assert_eq!(manifest.rows()[0].text(), "one");
}

#[test]
fn a_broken_table_says_where() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "empty; expected"),
        (b"path\ttext\n", "empty; expected rows below the header"),
        (b"path\tspeaker\na\tb\n", "no column \"text\"; there is path, speaker"),
        (b"file\ttext\na\tb\n", "no column \"path\"; there is file, text"),
        (b"path\ttext\tpath\na\tb\tc\n", "the column \"path\" is there twice"),
        (b"path\ttext\na\tb\nc\nd\te\n", "line 3 has 1 fields; the header has 2"),
        (b"path\ttext\na\tb\tc\n", "line 2 has 3 fields; the header has 2"),
        (b"path\ttext\na\tb\n\nc\td\n", "line 3 has 1 fields"),
        (b"path\ttext\na\t\xff\n", "byte 0xff at offset 12"),
        (b"path\ttext\n../a\tb\n", "row 1: refused the path \"../a\": it leads out of its folder"),
        (b"path\ttext\n/etc/passwd\tb\n", "refused the path \"/etc/passwd\": it is absolute"),
        (b"path\ttext\n\tb\n", "it names no file"),
    ];
    for (table, expected) in cases {
        let folder = folder_of(&[("manifest.tsv", table)]);
        let message = message(Manifest::open(&at(&folder, "manifest.tsv")));
        assert!(message.contains(expected) && message.contains("manifest.tsv"), "{message}");
    }
    let none = folder_of(&[]);
    assert!(message(Manifest::open(&at(&none, "manifest.tsv"))).contains("not found"));
}

proptest! {
    #[test]
    fn random_tables_and_filters_give_no_panic(table in "[a\tpath\\.\n/text]{0,200}", filter in "\\PC{0,40}") {
        for name in ["m.tsv", "m.csv", "m.jsonl", "m.parquet"] {
            let _ = table::parse(name, format!("path\ttext\n{table}").into());
            let _ = table::parse(name, table.clone().into());
        }
        let _ = Filter::parse(&filter);
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn spoken_digits_are_split_by_index_and_read_from_their_archive() {
    let manifest = Manifest::open(&real("audio/fsdd/manifest.tsv")).unwrap();
    assert_eq!(manifest.rows().len(), 2500);
    let test = manifest.select(&Filter::parse("index<5").unwrap()).unwrap();
    assert_eq!(test.len(), 250);
    assert_eq!(manifest.select(&Filter::parse("index>=5 & speaker!=george").unwrap()).unwrap().len(), 1800);
    assert_eq!(test[0].read().unwrap()[..4], *b"RIFF");
    let prompts = Manifest::open(&real("audio/asterisk-en")).unwrap();
    assert_eq!(prompts.rows().len(), 347);
    assert!(prompts.rows().iter().all(|row| row.read().unwrap().starts_with(b"RIFF")));
}
