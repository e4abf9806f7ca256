//! Published vocabularies are opened from disk.

use smalti_contract::{Tokenizer, Value};
use smalti_text::{TextSettings, TextTokenizer, TextUnit, Vocabulary, fit};

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nlow\n##er\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn of_file(folder: &tempfile::TempDir, name: &str, specials: &[&str]) -> Result<TextTokenizer, String> {
    let settings = TextSettings {
        vocabulary: TextUnit::File(folder.path().join(name).display().to_string()),
        specials: specials.iter().map(|name| name.to_string()).collect(),
        ..TextSettings::default()
    };
    let config = TextTokenizer::fit(settings, None, &Vec::<Value>::new());
    config.and_then(TextTokenizer::new).map_err(|e| e.to_string())
}

fn pairs() -> (String, String) {
    let fitted = fit::bpe("low lower ".repeat(9).as_bytes(), 260, vec![], 8).unwrap();
    let Vocabulary::Subwords { tokenizer } = fitted.vocabulary else { panic!("no subwords") };
    let line =
        |pair: &serde_json::Value| format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(line).collect();
    (tokenizer["model"]["vocab"].to_string(), merges)
}

#[test]
fn every_published_file_is_opened_by_its_path_and_by_its_folder() {
    let (encoder, merges) = pairs();
    for names in [["encoder.json", "vocab.bpe"], ["vocab.json", "merges.txt"]] {
        let folder = folder(&[(names[0], &encoder), (names[1], &merges)]);
        for name in [names[0], names[1], ""] {
            assert_eq!(of_file(&folder, name, &[]).unwrap().vocabulary_size(), 260, "{name}");
        }
    }
    let folder = folder(&[("vocab.txt", WORDS)]);
    let tokenizer = of_file(&folder, "", &[]).unwrap();
    assert_eq!(tokenizer.ids("The lower").unwrap(), [5, 6, 7]);
    let Vocabulary::Subwords { tokenizer: json } = &tokenizer.config().vocabulary else { panic!() };
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    assert!(of_file(&folder, "", &[]).unwrap().config() == tokenizer.config());
}

#[test]
fn a_mask_token_is_added_if_the_vocabulary_has_none() {
    let words = folder(&[("vocab.txt", WORDS)]);
    let tokenizer = of_file(&words, "", &["<mask>"]).unwrap();
    assert_eq!((tokenizer.vocabulary_size(), tokenizer.special("[MASK]")), (8, Some(4)));
    let (encoder, merges) = pairs();
    let bytes = folder(&[("encoder.json", &encoder), ("vocab.bpe", &merges)]);
    let tokenizer = of_file(&bytes, "", &["<mask>"]).unwrap();
    assert_eq!((tokenizer.vocabulary_size(), tokenizer.special("<mask>")), (261, Some(260)));
}

#[test]
fn errors_name_the_file() {
    let (encoder, merges) = pairs();
    let message = |files: &[(&str, &str)], name: &str| {
        let folder = folder(files);
        let error = of_file(&folder, name, &[]).err().expect("an error");
        error.replace(&folder.path().display().to_string(), "DIR")
    };
    assert_eq!(
        message(&[], ""),
        "DIR/: not found; expected a vocabulary: tokenizer.json, encoder.json, vocab.json, vocab.txt"
    );
    assert_eq!(
        message(&[("encoder.json", &encoder)], ""),
        "DIR/encoder.json: not found; expected vocab.bpe or merges.txt in the same folder"
    );
    let lost = message(&[("encoder.json", "{\"a\": 0}"), ("vocab.bpe", &merges)], "");
    assert!(lost.starts_with("DIR/encoder.json with DIR/vocab.bpe: text: merge 0"), "{lost}");
    let words = message(&[("vocab.txt", "the\n")], "vocab.txt");
    assert_eq!(words, "DIR/vocab.txt: not readable as vocab.txt: the token [UNK] is missing");
}
