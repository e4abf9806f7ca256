use super::*;

fn found(folder: &Path) -> Vec<(String, Finding)> {
    verify(folder).unwrap().into_iter().map(|file| (file.file, file.finding)).collect()
}

fn of(name: &str, finding: Finding) -> (String, Finding) {
    (name.into(), finding)
}

fn check_file(folder: &Path, name: &str) -> Result<(), SaveError> {
    let file = File::open(folder.join(name)).unwrap();
    check(folder, name, || Checksum::of(&file))
}

#[test]
fn each_flipped_bit_and_each_shorter_file_is_found() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let bytes: Vec<u8> = (0..200).collect();
    write(folder, "state.safetensors", &bytes).unwrap();
    check_file(folder, "state.safetensors").unwrap();
    let flipped = (0..bytes.len() * 8).map(|bit| {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    for damaged in flipped.chain((0..bytes.len()).map(|length| bytes[..length].to_vec())) {
        std::fs::write(folder.join("state.safetensors"), damaged).unwrap();
        let message = check_file(folder, "state.safetensors").unwrap_err().to_string();
        assert!(message.contains("state.safetensors is damaged"), "{message}");
        assert!(message.contains("expected CRC-32") && message.contains("found CRC-32"), "{message}");
        assert_eq!(found(folder), [of("state.safetensors", Finding::Differs)]);
    }
}

#[test]
fn a_run_killed_before_a_file_is_renamed_keeps_a_known_file() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write(folder, "state.safetensors", b"0").unwrap();
    for kill in 1..VERSIONS {
        let mut checksums = Checksums::read(folder).unwrap().unwrap();
        checksums.add("state.safetensors", Checksum::of_bytes(format!("{kill}").as_bytes()));
        checksums.write(folder).unwrap();
        check_file(folder, "state.safetensors").unwrap();
    }
    write(folder, "state.safetensors", b"at last").unwrap();
    check_file(folder, "state.safetensors").unwrap();
    assert_eq!(Checksums::read(folder).unwrap().unwrap().0["state.safetensors"].len(), VERSIONS);
}

#[test]
fn files_of_a_run_without_checksums_are_unchecked_until_it_writes() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    std::fs::create_dir(folder.join(PUBLISHED_FOLDER)).unwrap();
    for name in ["run.toml", "model.safetensors", "metrics.jsonl", "notes.txt", "published/vocab.txt"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    check_file(folder, "model.safetensors").unwrap();
    let names = ["model.safetensors", "published/vocab.txt", "run.toml"];
    assert_eq!(found(folder), names.map(|name| of(name, Finding::NoChecksum)));
    write(folder, "state.safetensors", b"state").unwrap();
    let names = ["model.safetensors", "published/vocab.txt", "run.toml", "state.safetensors"];
    assert_eq!(found(folder), names.map(|name| of(name, Finding::Ok)));
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert_eq!(found(folder)[0], of("model.safetensors", Finding::Missing));
    // A file that the run did not write.
    std::fs::write(folder.join("other.safetensors"), "other").unwrap();
    let message = check_file(folder, "other.safetensors").unwrap_err().to_string();
    assert!(message.contains("expected a checksum; found CRC-32"), "{message}");
}

#[test]
fn published_files_of_a_run_are_checked_in_the_runs_that_start_from_it() {
    let place = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|run| place.path().join(run));
    for run in [&from, &to] {
        std::fs::create_dir_all(run.join(PUBLISHED_FOLDER)).unwrap();
        std::fs::write(run.join("published/config.json"), "{}").unwrap();
    }
    add_below(&from, PUBLISHED_FOLDER).unwrap();
    std::fs::write(to.join("published/config.json"), "{ }").unwrap(); // a copy of a damaged file
    inherit(&from, &to, PUBLISHED_FOLDER).unwrap();
    check_below(&from, PUBLISHED_FOLDER).unwrap();
    let message = check_below(&to, PUBLISHED_FOLDER).unwrap_err().to_string();
    assert!(message.contains("config.json is damaged"), "{message}");
}

#[test]
fn a_damaged_file_of_checksums_is_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let huge = vec![b' '; MOST_BYTES as usize + 1];
    for (bytes, part) in [
        (&b""[..], "EOF"),
        (b"[]", "expected a map"),
        (br#"{"a": [{"crc32": "00000000", "bytes": -1}]}"#, "`-1`"),
        (br#"{"a": [{"crc32": "00000000", "bytes": 1, "alien": 1}]}"#, "alien"),
        (&huge, "at most"),
    ] {
        std::fs::write(folder.join(CHECKSUMS_FILE), bytes).unwrap();
        let message = verify(folder).unwrap_err().to_string();
        assert!(message.contains("checksums.json is not a file of checksums"), "{message}");
        assert!(message.contains(part) && message.contains("--no-verify"), "{part}: {message}");
    }
    for name in ["../a", "/a", "", "a/../../b"] {
        let json = format!(r#"{{{name:?}: [{{"crc32": "00000000", "bytes": 1}}]}}"#);
        std::fs::write(folder.join(CHECKSUMS_FILE), json).unwrap();
        let message = verify(folder).unwrap_err().to_string();
        assert!(message.contains("expected paths in the run's folder"), "{name:?}: {message}");
    }
}
