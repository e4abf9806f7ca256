//! Comparison with published implementations (OpenAI's and Google's vocabularies through transformers), whose outputs
//! are in the folder SMALTI_GOLDEN and whose vocabularies are in SMALTI_DATA.

use serde_json::{Value, json};
use smalti_contract::Tokenizer;
use smalti_text::{TextConfig, TextTokenizer, Vocabulary, published};

fn read(variable: &str, path: &str) -> Vec<u8> {
    let folder = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} must be a folder"));
    std::fs::read(format!("{folder}/{path}")).unwrap_or_else(|e| panic!("{folder}/{path}: {e}"))
}

fn vocabulary(file: &str) -> Vec<u8> {
    read("SMALTI_DATA", &format!("vocab/{file}"))
}

/// Every string of the list with its expected results.
fn expected() -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_slice(&read("SMALTI_GOLDEN", "text/expected.json")).unwrap();
    assert!(!cases.is_empty(), "the list is empty");
    cases
}

fn build(vocabulary: Vocabulary) -> TextTokenizer {
    TextTokenizer::new(TextConfig::new(vocabulary, 512)).unwrap()
}

fn gpt2() -> Vocabulary {
    published::gpt2(&vocabulary("encoder.json"), &vocabulary("vocab.bpe")).unwrap()
}

fn json_of(vocabulary: Vocabulary) -> Value {
    match vocabulary {
        Vocabulary::Subwords { tokenizer } => tokenizer,
        other => panic!("{other:?} has no tokenizer.json"),
    }
}

/// The `tokenizers` crate's tokenizer of the same file.
fn theirs(vocabulary: Vocabulary) -> tokenizers::Tokenizer {
    serde_json::from_value(json_of(vocabulary)).unwrap()
}

/// Compare the ids of every string that has expected ids under this key.
fn assert_ids(tokenizer: &TextTokenizer, key: &str) {
    let mut compared = 0;
    for case in expected() {
        let Some(ids) = case.get(key) else { continue };
        let text = case["text"].as_str().unwrap();
        let found = tokenizer.encode(&text.to_string()).unwrap();
        assert_eq!(json!(found.groups[0].content.ids()), *ids, "{text:?}");
        compared += 1;
    }
    assert!(compared > 0, "no string has {key}");
}

#[test]
#[ignore = "needs SMALTI_GOLDEN and SMALTI_DATA"]
fn gpt2_ids() {
    let tokenizer = build(gpt2());
    assert_eq!(tokenizer.vocabulary_size(), 50_257);
    assert_eq!(tokenizer.special("<|endoftext|>"), Some(50_256));
    assert_ids(&tokenizer, "gpt2");
    let written = theirs(gpt2()).to_string(false).unwrap();
    assert_ids(&build(published::tokenizer_json(written.as_bytes()).unwrap()), "gpt2");
}

#[test]
#[ignore = "needs SMALTI_GOLDEN and SMALTI_DATA"]
fn bert_ids_and_tokens() {
    let lines = published::bert(&vocabulary("bert-uncased-vocab.txt")).unwrap();
    let file = published::tokenizer_json(&vocabulary("bert-uncased-tokenizer.json")).unwrap();
    for vocabulary in [lines, file] {
        let names = json_of(vocabulary.clone())["model"]["vocab"].clone();
        let tokenizer = build(vocabulary);
        assert_ids(&tokenizer, "bert");
        let id = |token: &Value| {
            let id = names[token.as_str().unwrap()].as_u64();
            id.unwrap_or_else(|| panic!("{token} is no token"))
        };
        let cases: Vec<Value> =
            expected().into_iter().filter(|case| case.get("bert_tokens").is_some()).collect();
        assert!(!cases.is_empty(), "no string has bert_tokens");
        for case in cases {
            let tokens: Vec<u64> = case["bert_tokens"].as_array().unwrap().iter().map(id).collect();
            let ids = tokenizer.document(case["text"].as_str().unwrap()).unwrap();
            assert_eq!(json!(ids), json!(tokens), "{}", case["text"]);
        }
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn tiny_shakespeare_has_the_known_number_of_ids_and_survives_a_round_trip() {
    let text = String::from_utf8(read("SMALTI_DATA", "text/tinyshakespeare.txt")).unwrap();
    let tokenizer = build(gpt2());
    let ids = tokenizer.ids_in_parallel(&text).unwrap();
    assert_eq!(ids.len(), 338_025, "301,966 and 36,059 in nanoGPT's data/shakespeare");
    assert_eq!(tokenizer.text(&ids), text);
    assert_eq!(tokenizer.utf8_len(&ids), Some(text.len()));
    assert_eq!(theirs(gpt2()).encode_fast(text, false).unwrap().get_ids(), ids);
}
