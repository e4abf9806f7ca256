//! Small files that unpack to much, and files that declare sizes: they are named, and the memory stays small.

use super::{Place, failed, text_place, text_train};
use crate::files::{log, log_with, npz, wav};
use crate::support::{self, ran};
use serde_json::json;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// The bytes of memory that the commands may use for one file: a quarter of 64 MiB.
const LIMIT: usize = 16 << 20;
/// The setting that the messages name.
const SETTING: &str = "SMALTI_MEMORY";

/// Run a command with 64 MiB of memory, which must fail with exit code 1.
fn fails(place: &Place, line: &str, message: &[&str]) {
    let mut command = support::smalti(place.0.path());
    command.env(SETTING, "64");
    failed(1, line, &ran(command, line), message);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A zip archive of one file, packed.
fn zipped(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(vec![]));
    archive.start_file(name, SimpleFileOptions::default()).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

#[test]
fn files_that_unpack_to_much_are_named() {
    let long = b"to be\n".repeat(LIMIT / 5);
    let wide = ("obs", "|i1", "(2000000, 2)".into(), vec![0; 4_000_000]);
    let place = Place::new(&[
        ("a.txt.gz", &gzip(&long)),
        ("m.tsv.gz", &gzip(&[b"path\ttext\n", &long[..]].concat())),
        ("a.zip", &zipped("a.txt", &long)),
        ("log.npz", &log_with(wide)),
        ("slow.wav", &wav(1000, 400_000, 1, 16)),
    ]);
    fails(&place, "tokenize a.txt.gz", &["a.txt.gz", "unpacks to too much", SETTING]);
    fails(&place, "data check m.tsv.gz", &["m.tsv.gz", SETTING]);
    fails(&place, "tokenize a.zip/a.txt", &["a.zip", "a.txt unpacks to", SETTING]);
    fails(
        &place,
        "tokenize log.npz",
        &["log.npz", "\"obs\"", "4000000 numbers take 32000000 bytes", SETTING],
    );
    fails(
        &place,
        "tokenize slow.wav",
        &["slow.wav", "400000 samples at 1000 Hz are 6400000 at 16000 Hz", SETTING],
    );
}

#[test]
fn a_file_of_zeros_that_is_not_there_is_not_read() {
    let place = Place::new(&[]);
    for name in ["zeros.wav", "zeros.npz"] {
        let file = std::fs::File::create(place.path(name)).unwrap();
        file.set_len(1 << 40).unwrap();
        let message = format!("{} bytes are too many to hold", 1_u64 << 40);
        fails(&place, &format!("tokenize {name}"), &[name, &message, SETTING]);
    }
}

#[test]
fn pickles_that_grow_or_nest_are_named() {
    let config = std::fs::read("tests/checkpoints/gpt2-untied/config.json").unwrap();
    let mut laughs = b"\x80\x02K\x01q\x00".to_vec();
    for id in 0..40 {
        laughs.extend([b'h', id, b'h', id, 0x86, b'q', id + 1]);
    }
    laughs.push(b'.');
    let deep = [b"\x80\x02)", &[0x85; 100_000][..], b"."].concat();
    let place = Place::new(&[
        ("laughs/config.json", &config),
        ("laughs/pytorch_model.bin", &zipped("archive/data.pkl", &laughs)),
        ("deep/config.json", &config),
        ("deep/pytorch_model.bin", &zipped("archive/data.pkl", &deep)),
    ]);
    let file = "pytorch_model.bin";
    place.fails("import laughs --out run", &[file, "archive/data.pkl: it has more than 10000000 objects"]);
    place.fails(
        "import deep --out run",
        &[file, "archive/data.pkl: its objects are nested in more than 64 levels"],
    );
    assert!(!place.path("run").exists());
}

#[test]
fn discrete_actions_are_counted() {
    let wide =
        ("actions", "|i1", format!("({}, 5000)", crate::files::STEPS), vec![1; 5000 * crate::files::STEPS]);
    let place = Place::new(&[("wide.npz", &log_with(wide)), ("log.npz", &npz(&log()))]);
    place.fails("tokenize wide.npz", &["wide.npz", "at most 1024 discrete actions in a step, found 5000"]);
    place.works("tokenize log.npz");
}

#[test]
fn vocabularies_without_bounds_are_named() {
    let place = text_place();
    let tokens = ["[UNK]", "a", "b"];
    let vocab: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, t)| (t.to_string(), json!(id))).collect();
    let model = |limit: u64| {
        json!({
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": limit, "vocab": vocab,
        })
    };
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let growing = json!({"type": "Sequence", "normalizers": vec![double; 40]});
    let slow = json!({
        "type": "Split", "pattern": {"Regex": "(?:(?:[a-z ,.](?!;))+)+!|."}, "behavior": "Isolated", "invert": false,
    });
    let files = [
        ("zero.json", json!({"model": model(0)}), "max_input_chars_per_word 0; expected 1 to 512"),
        (
            "growing.json",
            json!({"normalizer": growing, "model": model(100)}),
            "may make more than 64 bytes of one",
        ),
        ("slow.json", json!({"pre_tokenizer": slow, "model": model(100)}), "of the tokenizer.json"),
    ];
    for (name, file, message) in files {
        place.write(name, file.to_string().as_bytes());
        let line = format!("{} --set outputs.text.vocabulary={{file=\"{name}\"}}", text_train());
        let named = if name == "slow.json" { "a.txt" } else { name };
        place.fails_untouched(&line, &[named, message]);
    }
}
