use super::*;
use crate::data::testing::{at, folder_of, gzip, tar_named, tar_of, zip_of};
use proptest::prelude::*;

fn small() -> Vec<u8> {
    tar_of(&[("./b/two.txt", b"two"), ("a.txt", b"one"), ("b/c/three.txt", b"three")])
}

fn memory(bytes: Vec<u8>) -> Result<Files, DataError> {
    Files::archive("x.tar", &Extent::memory(bytes.into()))
}

fn message<T>(result: Result<T, DataError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn a_folder_and_its_archive_have_the_same_files() {
    let tar = small();
    let folder = folder_of(&[
        ("t/b/two.txt", b"two"),
        ("t/a.txt", b"one"),
        ("t/b/c/three.txt", b"three"),
        ("t.tar", &tar),
    ]);
    for location in [at(&folder, "t"), at(&folder, "t.tar"), at(&folder, "t/"), at(&folder, "t.tar/")] {
        let files = Files::open(&location).unwrap();
        assert_eq!(files.list(), ["a.txt", "b/c/three.txt", "b/two.txt"], "{location}");
        assert_eq!(files.read("b/c/three.txt").unwrap(), b"three");
        assert_eq!(read(&files.location("b/two.txt")).unwrap(), b"two");
        assert_eq!(files.name(), location);
        assert!(matches!(files.read("b"), Err(DataError::Missing { .. })));
    }
    for location in [at(&folder, "t/b"), at(&folder, "t.tar/b")] {
        let below = Files::open(&location).unwrap();
        assert_eq!(below.list(), ["c/three.txt", "two.txt"]);
        assert_eq!(below.read("two.txt").unwrap(), b"two");
        assert!(matches!(read(&location), Err(DataError::IsFolder { .. })));
    }
}

#[test]
fn an_archive_in_an_archive_is_read_in_place() {
    let outer = tar_of(&[("in/inner.tar", &small()), ("x", b"x")]);
    let folder = folder_of(&[("outer.tar", &outer)]);
    assert_eq!(read(&at(&folder, "outer.tar/in/inner.tar/b/two.txt")).unwrap(), b"two");
    assert_eq!(
        Files::open(&at(&folder, "outer.tar/in/inner.tar/b")).unwrap().list(),
        ["c/three.txt", "two.txt"]
    );
    let in_memory = Files::from_memory("m", vec![("outer.tar".to_string(), outer.into())]);
    let inner = in_memory.open_member("outer.tar").unwrap().open_member("in/inner.tar").unwrap();
    assert_eq!(inner.name(), "m/outer.tar/in/inner.tar");
    assert_eq!(inner.read("a.txt").unwrap(), b"one");
}

#[test]
fn long_and_non_ascii_names_are_read() {
    let long = format!("{}/größe.txt", "folder".repeat(30));
    assert_eq!(memory(tar_of(&[(&long, b"1")])).unwrap().list(), [long]);
}

#[test]
fn gz_files_are_unpacked() {
    let folder = folder_of(&[
        ("x.gz", &gzip(b"hello")),
        ("cut.gz", &gzip(&[7; 5000])[..20]),
        ("plain.gz", b"hello"),
        ("none.gz", &gzip(b"")),
    ]);
    assert_eq!(read(&at(&folder, "x.gz")).unwrap(), b"hello");
    assert_eq!(Files::open(&at(&folder, "")).unwrap().read("x.gz").unwrap(), b"hello");
    for damaged in ["cut.gz", "plain.gz"] {
        assert!(message(read(&at(&folder, damaged))).contains("not readable as gzip"));
    }
    assert!(matches!(read(&at(&folder, "none.gz")), Err(DataError::Empty { .. })));
}

#[test]
fn errors_name_the_file_and_the_problem() {
    let tar = small();
    let folder = folder_of(&[
        ("empty", b""),
        ("text.txt", b"just text, no archive at all"),
        ("t.tgz", &gzip(&tar)),
        ("t.tar", &tar),
    ]);
    std::fs::create_dir(folder.path().join("hollow")).unwrap();
    for (location, expected) in [
        ("none", "none: not found; expected a folder or an archive"),
        ("none/below.tar/x", "not found"),
        ("empty", "empty: empty; expected a tar archive"),
        ("hollow", "hollow: empty; expected files"),
        ("text.txt", "text.txt: a file; expected a folder or an archive"),
        ("text.txt/x", "text.txt: not readable as a tar archive"),
        ("t.tgz/z", "t.tgz/z: not found"),
        ("t.tar/z", "t.tar/z: not found"),
        ("t.tar/../x", "leads out of its folder"),
        ("t.tar/a.txt/x", "a.txt: not readable as a tar archive"),
    ] {
        let message = message(Files::open(&at(&folder, location)));
        assert!(message.contains(expected), "{location}: {message}");
    }
    assert!(message(read(&at(&folder, "empty"))).contains("empty; expected data"));
    assert!(message(read(&at(&folder, "none"))).contains("not found; expected a file"));
    assert!(message(read(&at(&folder, "hollow"))).contains("a folder; expected a file"));
    assert!(message(read("builtin:no such thing")).contains("builtin:no such thing: not found"));
}

#[test]
fn a_truncated_archive_is_an_error() {
    let whole = small();
    // The archive closes with two blocks of zeros; one of them is enough.
    let needed = whole.len() - 512;
    assert!(memory(whole[..needed].to_vec()).is_ok());
    for len in 1..needed {
        assert!(matches!(memory(whole[..len].to_vec()), Err(DataError::Format { .. })), "truncated to {len}");
    }
}

#[test]
fn a_member_larger_than_the_archive_is_an_error_and_not_allocated() {
    let mut header = tar::Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(2048, 0);
    assert!(message(memory(bytes)).contains("truncated: huge takes 1099511627776 bytes"));
}

#[test]
fn unsafe_and_duplicate_members_are_errors_and_links_are_skipped() {
    for name in ["../x", "a/../../x", "/etc/x"] {
        assert!(
            matches!(memory(tar_named(name, tar::EntryType::Regular)), Err(DataError::Path { .. })),
            "{name}"
        );
    }
    assert!(message(memory(tar_of(&[("a", b"1"), ("./a", b"2")]))).contains("member a occurs twice"));
    let linked = memory(tar_named("link", tar::EntryType::Symlink)).unwrap();
    assert_eq!(linked.skipped(), [("link".to_string(), "not a plain file but a link, a device or sparse")]);
}

#[test]
fn a_zip_archive_has_the_files_of_its_folder() {
    let long = [7; 5000];
    let zip =
        zip_of(&[("./b/two.txt", b"two"), ("a.txt", b"one"), ("b\\c\\three.txt", &long), ("b/e.txt", b"")]);
    let tar = tar_of(&[("in/t.zip", &zip)]);
    let folder =
        folder_of(&[("t.zip", &zip), ("outer.tar", &tar), ("z.zip", &zip_of(&[("in.tar", &small())]))]);
    let files = Files::open(&at(&folder, "t.zip")).unwrap();
    assert_eq!(files.list(), ["a.txt", "b/c/three.txt", "b/e.txt", "b/two.txt"]);
    assert_eq!(files.read("b/c/three.txt").unwrap(), long);
    assert!(matches!(files.read("b/e.txt"), Err(DataError::Empty { .. })));
    assert!(files.origin("b/c/three.txt").unwrap().contains("member"));
    assert_eq!(read(&at(&folder, "t.zip/b/two.txt")).unwrap(), b"two");
    assert_eq!(Files::open(&at(&folder, "t.zip/b")).unwrap().list(), ["c/three.txt", "e.txt", "two.txt"]);
    assert_eq!(read(&at(&folder, "outer.tar/in/t.zip/a.txt")).unwrap(), b"one");
    assert_eq!(read(&at(&folder, "z.zip/in.tar/b/two.txt")).unwrap(), b"two");
    assert_eq!(glob::expand(&at(&folder, "t.zip/*.txt")).unwrap(), [at(&folder, "t.zip/a.txt")]);
}

#[test]
fn errors_of_zip_archives_name_the_member() {
    let whole = zip_of(&[("a.txt", &[7; 5000])]);
    let find = |magic: &[u8]| whole.windows(4).position(|four| four == magic).unwrap();
    let central = find(b"PK\x01\x02");
    let with = |at: usize, bytes: &[u8]| {
        let mut zip = whole.clone();
        zip[at..at + bytes.len()].copy_from_slice(bytes);
        zip
    };
    let folder = folder_of(&[
        ("secret.zip", &with(central + 8, &[1, 0])),
        ("method.zip", &with(central + 10, &[12, 0])),
        ("bomb.zip", &with(central + 24, &u32::MAX.wrapping_sub(1).to_le_bytes())),
        ("large.zip", &with(central + 24, &5001_u32.to_le_bytes())),
        ("small.zip", &with(central + 24, &4000_u32.to_le_bytes())),
        ("content.zip", &with(central + 16, &[0x55; 4])),
        ("up.zip", &zip_of(&[("../x", b"x")])),
        ("cut.zip", &whole[..whole.len() - 30]),
        ("text.zip", b"no archive at all"),
        ("empty.zip", b""),
    ]);
    for (path, expected) in [
        ("secret.zip", "the member a.txt is encrypted; unpack the archive with its password"),
        ("method.zip", "the member a.txt is packed by"),
        ("bomb.zip", "the member a.txt declares 4294967294 bytes in"),
        ("up.zip", "leads out of its folder"),
        ("cut.zip", "not readable as a zip archive"),
        ("text.zip", "not readable as a zip archive"),
        ("empty.zip", "empty; expected a zip archive"),
    ] {
        let message = message(Files::open(&at(&folder, path)));
        assert!(message.contains(expected), "{path}: {message}");
    }
    for path in ["large.zip", "small.zip", "content.zip"] {
        let message = message(read(&at(&folder, &format!("{path}/a.txt"))));
        assert!(message.contains("a.txt: not readable as a member of a zip archive"), "{path}: {message}");
    }
}

#[test]
fn hidden_files_are_read_only_when_named() {
    let files: [(&str, &[u8]); 5] = [
        ("a/1.png", b"1"),
        ("a/._1.png", b"2"),
        ("__MACOSX/a/._1.png", b"3"),
        (".ipynb_checkpoints/1.png", b"4"),
        (".ipynb_checkpoints/2.png", b"5"),
    ];
    let folder = folder_of(&files);
    std::fs::write(folder.path().join("t.tar"), tar_of(&files)).unwrap();
    std::fs::write(folder.path().join("t.zip"), zip_of(&files)).unwrap();
    let all = Files::open(&at(&folder, "")).unwrap();
    assert_eq!(all.list(), ["a/1.png", "t.tar", "t.zip"]);
    for tree in
        [all, Files::open(&at(&folder, "t.tar")).unwrap(), Files::open(&at(&folder, "t.zip")).unwrap()]
    {
        let skipped: Vec<&str> = tree.skipped().iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(skipped, [".ipynb_checkpoints", "__MACOSX", "a/._1.png"]);
        assert_eq!(tree.read("a/._1.png").unwrap(), b"2");
        assert!(tree.contains(".ipynb_checkpoints/2.png") && !tree.contains(".ipynb_checkpoints/3.png"));
    }
    for place in ["", "t.tar/", "t.zip/"] {
        assert_eq!(read(&at(&folder, &format!("{place}__MACOSX/a/._1.png"))).unwrap(), b"3", "{place}");
        let found = glob::expand(&at(&folder, &format!("{place}**/*.png"))).unwrap();
        assert_eq!(found, [at(&folder, &format!("{place}a/1.png"))]);
        let named = Files::open(&at(&folder, &format!("{place}.ipynb_checkpoints"))).unwrap();
        assert_eq!((named.list().len(), named.skipped().len()), (2, 0), "{place}");
    }
}

#[cfg(unix)]
#[test]
fn links_on_disk_are_followed_to_a_limited_depth() {
    use std::os::unix::fs::symlink;
    let folder = folder_of(&[("real/a", b"1")]);
    symlink(folder.path().join("real"), folder.path().join("linked")).unwrap();
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    let files = Files::open(&at(&folder, "")).unwrap();
    assert_eq!(files.list(), ["linked/a", "real/a"]);
    assert_eq!(files.skipped(), [("dangling".to_string(), "a link to nothing")]);
    symlink("..", folder.path().join("real/up")).unwrap();
    assert!(message(Files::open(&at(&folder, ""))).contains("a link to a folder above"));
}

#[test]
fn text_must_be_utf8_and_loses_its_byte_order_mark() {
    let folder = folder_of(&[("ok", "\u{feff}grün".as_bytes()), ("latin1", b"abc\xff def"), ("empty", b"")]);
    assert_eq!(read_text(&at(&folder, "ok")).unwrap(), "grün");
    assert!(message(read_text(&at(&folder, "latin1"))).contains("byte 0xff at offset 3"));
    assert!(matches!(read_text(&at(&folder, "empty")), Err(DataError::Empty { .. })));
}

#[test]
fn a_text_is_streamed() {
    let long = "grün\n".repeat(9000);
    let folder = folder_of(&[
        ("marked", format!("\u{feff}{long}").as_bytes()),
        ("x.gz", &gzip(long.as_bytes())),
        ("short", b"a"),
        ("empty", b""),
        ("plain.gz", b"no gzip at all"),
    ]);
    let text = |name: &str| {
        let mut text = String::new();
        open_text(&at(&folder, name)).unwrap().read_to_string(&mut text).map(|_| text).unwrap()
    };
    assert_eq!((text("marked"), text("x.gz"), text("short")), (long.clone(), long.clone(), "a".into()));
    assert!(matches!(open_text(&at(&folder, "empty")), Err(DataError::Empty { .. })));
    assert!(matches!(open_text(&at(&folder, "")), Err(DataError::IsFolder { .. })));
    assert!(message(open_text(&at(&folder, "plain.gz"))).contains("plain.gz"));
    assert!(matches!(open_text(&at(&folder, "none")), Err(DataError::Missing { .. })));
}

#[test]
fn threads_share_one_tree() {
    fn shared<T: Send + Sync>(_: &T) {}
    let folder = folder_of(&[("t.tar", &small())]);
    let files = Files::open(&at(&folder, "t.tar")).unwrap();
    shared(&files);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(files.read("b/c/three.txt").unwrap(), b"three")));
        }
    });
}

proptest! {
    #[test]
    fn random_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = memory(bytes);
    }

    #[test]
    fn a_corrupt_archive_causes_no_panic(at in 0usize..5000, to in any::<u8>()) {
        let mut bytes = small();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(files) = memory(bytes) {
            for path in files.list() {
                let _ = files.read(path);
            }
        }
    }
}

#[test]
fn a_sparse_member_is_skipped_whatever_its_size() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_path("big.png").unwrap();
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize = *b"77777777777\0";
    gnu.sparse[0].offset = *b"77777777777\0";
    gnu.sparse[0].numbytes = *b"00000000000\0";
    header.set_cksum();
    let mut archive = tar::Builder::new(vec![]);
    archive.append(&header, std::io::empty()).unwrap();
    let mut plain = tar::Header::new_gnu();
    plain.set_size(3);
    plain.set_cksum();
    archive.append_data(&mut plain, "one.txt", &b"one"[..]).unwrap();
    let folder = folder_of(&[("t.tar", &archive.into_inner().unwrap())]);
    let files = Files::open(&at(&folder, "t.tar")).unwrap();
    assert_eq!(files.list(), ["one.txt"]);
    assert!(files.skipped().iter().any(|(path, why)| path == "big.png" && why.contains("sparse")));
    assert_eq!(files.read("one.txt").unwrap(), b"one");
}
