//! Every bad input and setting is refused with its expected and actual value.

use smalti_contract::{Content, Group, TokenizeError, Tokenizer, Tokens};
use smalti_text::{TextConfig, TextTokenizer, Vocabulary};

fn config(characters: &str, specials: &[&str], context: usize) -> TextConfig {
    let vocabulary = Vocabulary::Characters { characters: characters.into() };
    TextConfig { vocabulary, specials: specials.iter().map(|s| s.to_string()).collect(), context }
}

fn refusal(config: TextConfig) -> String {
    TextTokenizer::new(config).err().expect("the configuration is refused").to_string()
}

fn abc() -> TextTokenizer {
    TextTokenizer::new(config("abc", &["<eos>"], 4)).unwrap()
}

fn read(bytes: &[u8]) -> String {
    abc().records(bytes).next().unwrap().unwrap_err().to_string()
}

#[test]
fn settings() {
    assert_eq!(refusal(config("ab", &[], 0)), "text: context is 0; it must be at least 1");
    assert_eq!(refusal(config("", &[], 4)), "text: vocabulary has no characters; at least 1 is needed");
    assert_eq!(refusal(config("aab", &[], 4)), "text: character 'a' is twice in the vocabulary");
    assert_eq!(
        refusal(config("aba", &[], 4)),
        "text: characters must be in ascending order of code point, each once; 'a' follows 'b'"
    );
    assert_eq!(refusal(config("ab", &["<eos>", "<eos>"], 4)), "text: special \"<eos>\" is named twice");
    assert_eq!(refusal(config("ab", &["<eos>", ""], 4)), "text: special 1 has no name");
}

#[test]
fn unknown_keys() {
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
fn unknown_characters() {
    assert_eq!(
        abc().ids("ab\u{e9}d").unwrap_err().to_string(),
        "character 'é' (U+00E9) at index 2 of the text is not in the vocabulary of 3; \
         fit the vocabulary to this text or add the special \"<unk>\""
    );
    assert!(abc().encode(&"abd".into()).is_err());
}

#[test]
fn texts_beyond_the_context() {
    let error = abc().encode(&"abcab".into()).unwrap_err();
    assert_eq!(error.to_string(), "text has 5 tokens; the context holds 4");
    assert_eq!(abc().ids("abcab").unwrap().len(), 5, "ids know no context");
}

#[test]
fn ids_beyond_the_vocabulary() {
    let error = abc().tokens(&[0, 4]).unwrap_err();
    assert_eq!(error.to_string(), "character: id 4 at token 1 must be below 4");
}

#[test]
fn files() {
    assert_eq!(read(b""), "not readable as UTF-8 text: the file is empty");
    assert_eq!(read(b"ab\xffc"), "not readable as UTF-8 text: invalid byte 0xff at offset 2");
    assert_eq!(read(b"ab\xc3"), "not readable as UTF-8 text: invalid byte 0xc3 at offset 2", "truncated");
}

#[test]
fn tokens_of_another_kind() {
    let features = Content::Features { values: vec![f32::NAN; 2], dim: 1 };
    for tokens in [Tokens::default(), Tokens::new(vec![Group::sequence(features)])] {
        assert!(matches!(abc().decode(&tokens), Err(TokenizeError::Spec(_))));
    }
}
