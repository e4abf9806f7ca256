//! Errors of invalid inputs and settings name the expected and the actual value.

use serde_json::json;
use smalti_contract::{Content, Group, TokenizeError, Tokenizer, Tokens};
use smalti_text::{TextConfig, TextTokenizer, Vocabulary, published};

fn config(characters: &str, specials: &[&str], context: usize) -> TextConfig {
    let vocabulary = Vocabulary::Characters { characters: characters.into() };
    TextConfig {
        specials: specials.iter().map(|s| s.to_string()).collect(),
        ..TextConfig::new(vocabulary, context)
    }
}

fn error_of(config: TextConfig) -> String {
    TextTokenizer::new(config).err().expect("an error").to_string()
}

fn abc() -> TextTokenizer {
    TextTokenizer::new(config("abc", &["<eos>"], 4)).unwrap()
}

fn read(bytes: &[u8]) -> String {
    abc().raw_inputs(bytes).next().unwrap().unwrap_err().to_string()
}

#[test]
fn invalid_settings_are_errors() {
    assert_eq!(error_of(config("ab", &[], 0)), "text: context is 0; it must be at least 1");
    assert_eq!(error_of(config("", &[], 4)), "text: vocabulary: expected at least 1 character; found 0");
    assert_eq!(error_of(config("aab", &[], 4)), "text: character 'a' occurs twice in the vocabulary");
    assert_eq!(
        error_of(config("aba", &[], 4)),
        "text: characters must be in ascending order of code point, each once; 'a' follows 'b'"
    );
    assert_eq!(error_of(config("ab", &["<eos>", "<eos>"], 4)), "text: special token \"<eos>\" occurs twice");
    assert_eq!(error_of(config("ab", &["<eos>", ""], 4)), "text: special token 1 has an empty name");
}

#[test]
fn unknown_keys_are_errors() {
    for json in [
        r#"{"vocabulary": "bytes", "context": 4, "contxt": 5}"#,
        r#"{"vocabulary": {"characters": {"characters": "ab", "sorted": true}}, "context": 4}"#,
        r#"{"vocabulary": "words", "context": 4}"#,
        r#"{"vocabulary": "bytes"}"#,
    ] {
        assert!(serde_json::from_str::<TextConfig>(json).is_err(), "{json}");
    }
}

#[test]
fn unknown_characters_are_errors() {
    assert_eq!(
        abc().ids("ab\u{e9}d").unwrap_err().to_string(),
        "character 'é' (U+00E9) at index 2 of the text is not in the vocabulary of 3 characters: try \
         unknown=true in training"
    );
    assert!(abc().encode(&"abd".into()).is_err());
}

#[test]
fn texts_beyond_the_context_are_errors() {
    let error = abc().encode(&"abcab".into()).unwrap_err();
    assert_eq!(error.to_string(), "text has 5 tokens; the context holds 4: try context=5");
    assert_eq!(abc().ids("abcab").unwrap().len(), 5, "ids have no limit");
}

#[test]
fn ids_beyond_the_vocabulary_are_errors() {
    let error = abc().tokens(&[0, 4]).unwrap_err();
    assert_eq!(error.to_string(), "character: id 4 at token 1 must be below 4");
}

#[test]
fn invalid_files_are_errors() {
    assert_eq!(read(b""), "not readable as UTF-8 text: the file is empty");
    assert_eq!(read(b"ab\xffc"), "not readable as UTF-8 text: invalid byte 0xff at offset 2");
    assert_eq!(read(b"ab\xc3"), "not readable as UTF-8 text: invalid byte 0xc3 at offset 2", "truncated");
}

#[test]
fn tokens_of_another_kind_are_errors() {
    let features = Content::Features { values: vec![f32::NAN; 2], dim: 1 };
    for tokens in [Tokens::default(), Tokens::new(vec![Group::sequence(features)])] {
        assert!(matches!(abc().decode(&tokens), Err(TokenizeError::Spec(_))));
    }
}

fn subwords(file: serde_json::Value) -> String {
    error_of(TextConfig::new(Vocabulary::Subwords { tokenizer: file }, 4))
}

#[test]
fn invalid_published_files_are_errors() {
    let error_text = |result: Result<Vocabulary, TokenizeError>| result.unwrap_err().to_string();
    let json = |file: &str| error_text(published::tokenizer_json(file.as_bytes()));
    assert!(json("").starts_with("not readable as tokenizer.json: EOF"), "{}", json(""));
    assert_eq!(json("[1]"), "not readable as tokenizer.json: expected a JSON object");
    assert_eq!(json("{}"), "not readable as tokenizer.json: it has no \"model\"");
    let merges = |lines: &[u8]| error_text(published::gpt2(b"{}", lines));
    assert_eq!(
        merges(b"#version: 0.2\na b\na b c\n"),
        "not readable as vocab.bpe: line 3 must be two tokens separated by a space; found \"a b c\""
    );
    assert_eq!(merges(b"a \xff"), "not readable as vocab.bpe: invalid byte 0xff at offset 2");
    assert!(error_text(published::gpt2(b"{", b"")).starts_with("not readable as encoder.json: EOF"));
    let lines = |lines: &str| error_text(published::bert(lines.as_bytes()));
    assert_eq!(lines("[UNK]\n[CLS]\nthe\n"), "not readable as vocab.txt: the token [SEP] is missing");
    assert_eq!(lines("a\nb\na\n"), "not readable as vocab.txt: line 3 is \"a\", the same as line 1");
}

#[test]
fn invalid_models_of_subwords_are_errors() {
    let model = |model: serde_json::Value| subwords(json!({ "model": model }));
    assert_eq!(subwords(json!([])), "text: expected a JSON object of a tokenizer.json");
    assert_eq!(subwords(json!({})), "text: has no model");
    assert_eq!(
        model(json!({"type": "Words"})),
        "text: model has the type \"Words\"; expected BPE, WordPiece, WordLevel or Unigram"
    );
    let bpe = |vocab: serde_json::Value, merges: serde_json::Value| {
        model(json!({"type": "BPE", "unk_token": "a", "vocab": vocab, "merges": merges}))
    };
    let ab = json!({"a": 0, "b": 1, "ab": 2});
    assert_eq!(bpe(json!({}), json!([])), "text: model's vocab is empty");
    assert_eq!(bpe(json!({"b": 0}), json!([])), "text: unk_token \"a\" is not in the vocab");
    assert_eq!(bpe(json!({"a": -1}), json!([])), "text: token \"a\" has the id -1; expected a whole number");
    assert_eq!(bpe(json!({"a": 0, "b": 0}), json!([])), "text: two tokens have the id 0");
    assert_eq!(
        bpe(json!({"a": 0, "b": 9}), json!([])),
        "text: 2 tokens have ids up to 9; too many ids are unused"
    );
    assert_eq!(
        bpe(ab.clone(), json!([["a", "b"], ["b", "a"]])),
        "text: merge 1 of \"b\" and \"a\": the token \"ba\" is not in the vocab"
    );
    assert_eq!(bpe(ab.clone(), json!([["a"]])), "text: merge 0 must be two tokens; found [\"a\"]");
    assert_eq!(
        model(json!({"type": "BPE", "vocab": ab, "merges": []})),
        "text: vocab lacks 254 of the 256 bytes and there is no unk_token; text would be lost"
    );
    assert_eq!(
        model(json!({"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []})),
        "text: model has dropout; the same text must always have the same ids"
    );
    let unigram = |vocab: serde_json::Value, unknown: serde_json::Value| {
        model(json!({"type": "Unigram", "unk_id": unknown, "vocab": vocab}))
    };
    assert_eq!(unigram(json!([["a", 0.0]]), json!(1)), "text: unk_id is 1; there are 1 pieces");
    assert_eq!(
        unigram(json!([["", 0.0]]), json!(0)),
        "text: piece 0 must be a text and a score; found [\"\",0.0]"
    );
    assert_eq!(unigram(json!([["a", 0.0], ["a", 1.0]]), json!(0)), "text: piece 1, \"a\", occurs twice");
}

#[test]
fn added_tokens_with_another_id_are_errors() {
    let file = json!({
        "added_tokens": [{
            "id": 7, "content": "<s>", "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        }],
        "model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0}},
    });
    assert_eq!(subwords(file), "text: added token \"<s>\" has id 7; its position in the vocab gives 1");
}
