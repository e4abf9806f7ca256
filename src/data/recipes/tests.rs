use super::*;
use crate::data::testing::{at, folder_of, gzip, real, tar_named, tar_of};
use sha2::{Digest, Sha256};
use std::io::Write;
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A recipe of one file with this content.
fn recipe(name: &str, unpack: Unpack, content: &[u8]) -> Recipe {
    let file = Remote {
        url: format!("http://localhost:9/{name}"),
        unpack,
        size: content.len() as u64,
        sha256: sha256(content),
        to: None,
    };
    Recipe {
        name: "set".into(),
        about: String::new(),
        licence: String::new(),
        files: vec![file],
        manifest: None,
    }
}

fn get(recipe: &Recipe, dest: &TempDir, mirror: &str) -> Result<PathBuf, DataError> {
    recipe.get(dest.path(), Some(mirror), &mut |_, _| {})
}

fn message<T>(result: Result<T, DataError>) -> String {
    result.err().expect("an error").to_string()
}

/// The files and folders in the recipe's folder.
fn left(dest: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dest.path().join("set"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn shipped_recipes_are_complete() {
    let names: Vec<_> = list().iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["mnist", "cifar10", "tinyshakespeare", "fsdd"]);
    for file in list().iter().flat_map(|recipe| &recipe.files) {
        assert!(file.url.starts_with("https://"), "{}", file.url);
        assert!(file.sha256.len() == 64 && file.sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
        assert!(file.size > 0);
    }
    let dest = tempfile::tempdir().unwrap();
    let unknown = super::get("imagenet", dest.path(), None, &mut |_, _| {});
    assert!(message(unknown).contains("no recipe \"imagenet\"; there is mnist, cifar10"));
}

#[test]
fn a_file_is_copied_from_a_folder_once() {
    let (mirror, dest) = (folder_of(&[("x.txt", b"hello")]), tempfile::tempdir().unwrap());
    let recipe = recipe("x.txt", Unpack::None, b"hello");
    let mut progress = Vec::new();
    let folder = recipe.get(dest.path(), Some(&at(&mirror, "")), &mut |done, all| progress.push((done, all)));
    let folder = folder.unwrap();
    assert_eq!(fs::read(folder.join("x.txt")).unwrap(), b"hello");
    assert_eq!(progress.last(), Some(&(5, Some(5))));
    fs::remove_file(mirror.path().join("x.txt")).unwrap();
    get(&recipe, &dest, &at(&mirror, "")).expect("it is there already");
    fs::write(folder.join("x.txt"), b"jello").unwrap();
    assert!(
        message(get(&recipe, &dest, &at(&mirror, ""))).contains("x.txt: not found"),
        "a changed file is copied again"
    );
}

#[test]
fn the_checksum_of_gzip_is_that_of_the_unpacked_file() {
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    stored.write_all(&[5; 3000]).unwrap();
    for packed in [gzip(&[5; 3000]), stored.finish().unwrap()] {
        let (mirror, dest) = (folder_of(&[("x.gz", &packed)]), tempfile::tempdir().unwrap());
        let folder = get(&recipe("x.gz", Unpack::Gzip, &[5; 3000]), &dest, &at(&mirror, "")).unwrap();
        assert_eq!(fs::read(folder.join("x")).unwrap(), [5; 3000]);
        assert_eq!(left(&dest), ["x"]);
    }
}

#[test]
fn an_archive_is_unpacked_again_only_if_a_member_changed() {
    let packed = gzip(&tar_of(&[("top/a.txt", b"a"), ("top/list/b.txt", b"b")]));
    let (mirror, dest) = (folder_of(&[("x.tar.gz", &packed)]), tempfile::tempdir().unwrap());
    let recipe = recipe("x.tar.gz", Unpack::TarGz, &packed);
    let folder = get(&recipe, &dest, &at(&mirror, "")).unwrap();
    assert_eq!(fs::read(folder.join("list/b.txt")).unwrap(), b"b");
    assert_eq!(left(&dest), ["a.txt", "list", "x.tar.gz.sha256"]);
    let modified = |path: &str| fs::metadata(folder.join(path)).unwrap().modified().unwrap();
    let before = modified("a.txt");
    get(&recipe, &dest, "no such mirror").expect("it is there already");
    assert_eq!(modified("a.txt"), before);
    fs::write(folder.join("list/b.txt"), b"changed").unwrap();
    get(&recipe, &dest, &at(&mirror, "")).unwrap();
    assert_eq!(fs::read(folder.join("list/b.txt")).unwrap(), b"b");
}

#[test]
fn a_wrong_checksum_fails_and_leaves_no_file() {
    let dest = tempfile::tempdir().unwrap();
    for (found, expected) in [
        (&b"jello"[..], format!("sha256 is {}; expected {}", sha256(b"jello"), sha256(b"hello"))),
        (b"hell", "size is 4; expected 5".to_string()),
        (b"hello!", "size is more than 5; expected 5".to_string()),
        (b"", "size is 0; expected 5".to_string()),
    ] {
        let mirror = folder_of(&[("x", found)]);
        let message = message(get(&recipe("x", Unpack::None, b"hello"), &dest, &at(&mirror, "")));
        assert!(message.contains(&expected) && message.contains("/x:"), "{message}");
        assert!(left(&dest).is_empty());
    }
    let mirror = folder_of(&[("x.gz", b"not gzip"), ("y", b"")]);
    assert!(
        message(get(&recipe("x.gz", Unpack::Gzip, b"hello"), &dest, &at(&mirror, "")))
            .contains("broke off after 0")
    );
    assert!(
        message(get(&recipe("none", Unpack::None, b"hello"), &dest, &at(&mirror, "")))
            .contains("none: not found")
    );
    assert!(left(&dest).is_empty());
}

#[test]
fn an_archive_with_unsafe_members_fails_and_leaves_no_file() {
    use tar::EntryType::{Regular, Symlink};
    for (name, kind, expected) in [
        ("top/../../../escaped", Regular, "leads out of its folder"),
        ("/tmp/escaped", Regular, "it is absolute"),
        ("top/link", Symlink, "a link or a device; expected plain files"),
        ("bare", Regular, "bare is in no folder"),
    ] {
        let packed = gzip(&tar_named(name, kind));
        let (mirror, dest) = (folder_of(&[("x.tar.gz", &packed)]), tempfile::tempdir().unwrap());
        let message = message(get(&recipe("x.tar.gz", Unpack::TarGz, &packed), &dest, &at(&mirror, "")));
        assert!(message.contains(expected), "{message}");
        assert!(left(&dest).is_empty());
        assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 1);
    }
}

#[test]
fn file_names_become_a_manifest() {
    let naming = list().iter().find_map(|recipe| recipe.manifest.clone()).expect("spoken digits have one");
    let folder = folder_of(&[
        ("recordings/7_jackson_32.wav", b"w"),
        ("recordings/0_theo_1.wav", b"w"),
        ("recordings/x.txt", b"t"),
    ]);
    naming.write_manifest(folder.path()).unwrap();
    let written = fs::read_to_string(folder.path().join("manifest.tsv")).unwrap();
    let expected = "path\ttext\tspeaker\tindex\n\
        recordings/0_theo_1.wav\tzero\ttheo\t1\nrecordings/7_jackson_32.wav\tseven\tjackson\t32\n";
    assert_eq!(written, expected);
    for name in ["recordings/12_theo_1.wav", "recordings/one_theo_1.wav", "recordings/1_theo.wav"] {
        let folder = folder_of(&[(name, b"w")]);
        assert!(
            message(naming.write_manifest(folder.path())).contains("not of the form text_speaker_index.wav")
        );
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn real_files_are_those_of_the_recipes() {
    let dest = tempfile::tempdir().unwrap();
    let folder = super::get("mnist", dest.path(), Some(&real("image/mnist")), &mut |_, _| {}).unwrap();
    assert_eq!(fs::metadata(folder.join("train-images-idx3-ubyte")).unwrap().len(), 47_040_016);
    let text = fs::read(real("text/tinyshakespeare.txt")).unwrap();
    let mirror = folder_of(&[("input.txt", &text)]);
    super::get("tinyshakespeare", dest.path(), Some(&at(&mirror, "")), &mut |_, _| {}).unwrap();
    assert_eq!(fs::read(dest.path().join("tinyshakespeare/tinyshakespeare.txt")).unwrap(), text);
}

#[cfg(feature = "remote")]
mod over_http {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// A local server that gives one raw answer to any request; returns its address.
    fn serve(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            // The client may close the connection after too many bytes.
            let _ = stream.write_all(&answer);
        });
        format!("http://{address}/")
    }

    fn answer(status: &str, claimed: usize, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {claimed}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn a_file_is_downloaded() {
        let dest = tempfile::tempdir().unwrap();
        let mirror = serve(answer("200 OK", 5, b"hello"));
        let folder = get(&recipe("x", Unpack::None, b"hello"), &dest, &mirror).unwrap();
        assert_eq!(fs::read(folder.join("x")).unwrap(), b"hello");
    }

    #[test]
    fn a_failed_download_names_the_address_and_leaves_no_file() {
        let recipe = recipe("x", Unpack::None, b"hello");
        let endless = [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &[b'h'; 1 << 20]].concat();
        for (answer, expected) in [
            (answer("404 Not Found", 0, b""), "/x: the server answered with status 404; expected 200"),
            (answer("500 Oops", 0, b""), "status 500"),
            (answer("200 OK", 5, b"hel"), "/x: broke off after"),
            (answer("200 OK", 5, b"jello"), "sha256 is"),
            (endless, "size is more than 5"),
            (b"nonsense".to_vec(), "/x: "),
        ] {
            let dest = tempfile::tempdir().unwrap();
            let message = message(get(&recipe, &dest, &serve(answer)));
            assert!(message.contains(expected), "{message}");
            assert!(left(&dest).is_empty());
        }
        // No process listens on the port of a dropped listener.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dest = tempfile::tempdir().unwrap();
        assert!(matches!(get(&recipe, &dest, &format!("http://{gone}")), Err(DataError::Download { .. })));
    }
}
