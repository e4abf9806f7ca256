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
    assert!(lost.starts_with("DIR/encoder.json with DIR/vocab.bpe: merge 0"), "{lost}");
    let words = message(&[("vocab.txt", "the\n")], "vocab.txt");
    assert_eq!(words, "DIR/vocab.txt: not readable as vocab.txt: the token [UNK] is missing");
}

const ACCENTS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfur\nfür\nschon\nschön\nhaus\n中\n中国\n";

/// The ids that `BertTokenizerFast` of transformers 4.57 gives with each of these files beside `vocab.txt`.
#[test]
fn the_settings_beside_a_vocabulary_decide_on_case_and_accents() {
    const TEXT: &str = "Für schön Haus";
    for (settings, ids) in [
        (r#"{}"#, vec![5, 7, 9]),
        (r#"{"do_lower_case": true, "strip_accents": null}"#, vec![5, 7, 9]),
        (r#"{"do_lower_case": true, "strip_accents": false}"#, vec![6, 8, 9]),
        (r#"{"do_lower_case": false}"#, vec![1, 8, 1]),
        (r#"{"do_lower_case": false, "strip_accents": true}"#, vec![1, 7, 1]),
    ] {
        let folder = folder(&[("vocab.txt", ACCENTS), ("tokenizer_config.json", settings)]);
        assert_eq!(of_file(&folder, "", &[]).unwrap().ids(TEXT).unwrap(), ids, "{settings}");
        // They also override a tokenizer.json.
        let plain = self::folder(&[("vocab.txt", ACCENTS)]);
        let plain = of_file(&plain, "", &[]).unwrap();
        let Vocabulary::Subwords { tokenizer } = &plain.config().vocabulary else { panic!() };
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        assert_eq!(of_file(&folder, "", &[]).unwrap().ids(TEXT).unwrap(), ids, "tokenizer.json, {settings}");
    }
    let chinese = |settings: &str| {
        let folder = folder(&[("vocab.txt", ACCENTS), ("tokenizer_config.json", settings)]);
        of_file(&folder, "", &[]).unwrap().ids("中国").unwrap()
    };
    assert_eq!(chinese("{}"), [10, 1]);
    assert_eq!(chinese(r#"{"tokenize_chinese_chars": false}"#), [11]);
}

#[test]
fn the_settings_beside_a_vocabulary_name_its_special_tokens() {
    let words = WORDS.replace("[CLS]", "<cls>").replace("[SEP]", "<sep>");
    let map = r#"{"cls_token": "<cls>", "sep_token": {"content": "<sep>"}}"#;
    let folder = folder(&[("vocab.txt", &words), ("special_tokens_map.json", map)]);
    assert_eq!(of_file(&folder, "", &[]).unwrap().document("the low").unwrap(), [2, 5, 6, 3]);
    // GPT-2's pair of files has none; with settings beside it, its end of a text is one token.
    let (encoder, merges) = pairs();
    let encoder = encoder.replacen('{', "{\"<|endoftext|>\": 260, ", 1);
    let settings = r#"{"eos_token": "<|endoftext|>", "added_tokens_decoder": {"261": {"content": "<x>", "special": true}}}"#;
    let names = [("encoder.json", &*encoder), ("vocab.bpe", &*merges)];
    let plain = self::folder(&names);
    assert!(of_file(&plain, "", &[]).unwrap().ids("<|endoftext|>").unwrap().len() > 1);
    let folder = self::folder(&[names[0], names[1], ("tokenizer_config.json", settings)]);
    let tokenizer = of_file(&folder, "", &[]).unwrap();
    assert_eq!(tokenizer.ids("<|endoftext|><x>").unwrap(), [260, 261]);
    let space =
        self::folder(&[names[0], names[1], ("tokenizer_config.json", r#"{"add_prefix_space": true}"#)]);
    let plain = of_file(&plain, "", &[]).unwrap();
    assert_eq!(of_file(&space, "", &[]).unwrap().ids("low").unwrap(), plain.ids(" low").unwrap());
}

/// As `RobertaTokenizerFast` of transformers 4.57 reads the same two files.
#[test]
fn robertas_pair_of_files_puts_its_special_tokens_around_a_text() {
    let (encoder, merges) = pairs();
    let encoder = encoder.replacen('{', r#"{"<s>": 260, "</s>": 261, "<pad>": 262, "<mask>": 263, "#, 1);
    let names = [("vocab.json", &*encoder), ("merges.txt", &*merges)];
    let plain = folder(&names);
    let map =
        r#"{"cls_token": "<s>", "sep_token": "</s>", "mask_token": {"content": "<mask>", "lstrip": true}}"#;
    let named = folder(&[names[0], names[1], ("special_tokens_map.json", map)]);
    let class = folder(&[
        names[0],
        names[1],
        ("tokenizer_config.json", r#"{"tokenizer_class": "RobertaTokenizer"}"#),
    ]);
    let other =
        folder(&[names[0], names[1], ("tokenizer_config.json", r#"{"tokenizer_class": "GPT2Tokenizer"}"#)]);
    let low = of_file(&other, "", &[]).unwrap().document("low").unwrap();
    for folder in [&plain, &named, &class] {
        let tokenizer = of_file(folder, "", &[]).unwrap();
        assert_eq!(tokenizer.document("low").unwrap(), [&[260], &low[..], &[261]].concat());
        // The mask takes the space before it.
        let masked = [&[260], &low[..], &[263, 261]].concat();
        assert_eq!(tokenizer.document("low <mask>").unwrap(), masked);
    }
}

#[test]
fn invalid_settings_beside_a_vocabulary_are_errors() {
    for (settings, expected) in [
        ("[]", "expected a JSON object"),
        (r#"{"do_lower_case": "yes"}"#, "do_lower_case: expected true or false; found \"yes\""),
        (r#"{"added_tokens_decoder": [1]}"#, "added_tokens_decoder: expected tokens by id"),
        (
            r#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#,
            "added_tokens_decoder: expected tokens by id",
        ),
        (r#"{"added_tokens_decoder": {"9": {"content": "<x>"}}}"#, "\"<x>\" has id 9"),
        (r#"{"tokenizer_class": "LlamaTokenizer"}"#, "bos_token \"<s>\" is not in the vocabulary"),
    ] {
        let folder = folder(&[("vocab.txt", WORDS), ("tokenizer_config.json", settings)]);
        let error = of_file(&folder, "", &[]).err().expect(settings);
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

/// SmolLM's tokenizer has no token for some bytes. The library would drop them silently.
#[test]
fn a_text_with_a_byte_that_has_no_token_is_an_error() {
    let (encoder, merges) = pairs();
    // U+00C3 is the character of the byte 0xC3.
    let mut vocab: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&encoder).unwrap();
    let free = vocab.remove("Ã").unwrap();
    vocab.insert("<other>".into(), free);
    let encoder = serde_json::Value::Object(vocab).to_string();
    let folder = folder(&[("encoder.json", &encoder), ("vocab.bpe", &merges)]);
    let tokenizer = of_file(&folder, "", &[]).unwrap();
    assert_eq!(tokenizer.text(&tokenizer.ids("low 東京").unwrap()), "low 東京");
    for text in ["é", "low é", "low low low é"] {
        let error = tokenizer.ids(text).unwrap_err().to_string();
        assert!(
            error.contains("'é' (U+00E9) has the byte 0xc3") && error.contains("lacks 1 of the 256"),
            "{error}"
        );
        assert!(tokenizer.document(text).is_err());
    }
}

#[test]
fn a_text_with_an_id_that_the_model_lacks_is_an_error() {
    let folder = folder(&[("vocab.txt", WORDS)]);
    let config = of_file(&folder, "", &[]).unwrap().config().clone();
    let limited = |rows| TextTokenizer::new(smalti_text::TextConfig { rows: Some(rows), ..config.clone() });
    let tokenizer = limited(7).unwrap();
    assert_eq!((tokenizer.vocabulary_size(), tokenizer.ids("the low").unwrap()), (7, vec![5, 6]));
    let error = tokenizer.ids("lower").unwrap_err().to_string();
    assert!(error.contains("\"##er\" with the id 7; the model has the ids below 7"), "{error}");
    assert!(limited(0).is_err() && limited(9).is_err());
    assert!(tokenizer.with_specials(["<new>"]).is_err(), "its id would be that of ##er");
}
