//! The text tokenizer keeps the contract, and its round trip is exact.

use proptest::prelude::*;
use smalti_contract::{Tokenizer, testing::check};
use smalti_text::{TextConfig, TextTokenizer, UNKNOWN, Vocabulary, fit};

fn bytes(context: usize) -> TextTokenizer {
    let specials = vec!["<bos>".into(), "<mask>".into()];
    TextTokenizer::new(TextConfig { specials, ..TextConfig::new(Vocabulary::Bytes, context) }).unwrap()
}

#[test]
fn characters_conform() {
    let samples = ["To be, or not to be", "naïve 東京 🦀", ""].map(String::from);
    let config = fit::characters(samples.iter().map(String::as_str), vec!["<eos>".into()], 20).unwrap();
    check(&TextTokenizer::new(config).unwrap(), &samples).unwrap();
}

#[test]
fn bytes_conform() {
    check(&bytes(64), &["naïve 東京 🦀\r\n\0".into(), "".into()]).unwrap();
}

#[test]
fn specials_follow_the_vocabulary() {
    let config = fit::characters(["ba"], vec![UNKNOWN.into(), "<eos>".into()], 8).unwrap();
    let tokenizer = TextTokenizer::new(config).unwrap();
    assert_eq!(tokenizer.ids("abca").unwrap(), [0, 1, 2, 0], "c is unknown");
    assert_eq!((tokenizer.special(UNKNOWN), tokenizer.special("<eos>")), (Some(2), Some(3)));
    assert_eq!(tokenizer.special("<bos>"), None);
    assert_eq!((tokenizer.ordinary_size(), tokenizer.vocabulary_size()), (2, 4));
    assert_eq!(bytes(1).special("<mask>"), Some(257));
}

#[test]
fn decoding_drops_specials_and_repairs_bytes() {
    let tokenizer = bytes(8);
    let tokens = tokenizer.tokens(&[256, 0x61, 0xff, 257]).unwrap();
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "a\u{fffd}");
}

#[test]
fn special_tokens_are_not_recognised_in_texts() {
    let tokenizer = bytes(8);
    assert_eq!(tokenizer.ids("<bos>").unwrap(), b"<bos>".map(u32::from));
}

#[test]
fn a_file_is_one_text() {
    let tokenizer = bytes(8);
    let texts: Vec<String> = tokenizer.raw_inputs("é\r\n".as_bytes()).collect::<Result<_, _>>().unwrap();
    assert_eq!(texts, ["é\r\n"]);
}

#[test]
fn the_configuration_is_read_from_json() {
    let json = r#"{"vocabulary": {"characters": {"characters": "ab"}}, "context": 4}"#;
    let config: TextConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config, fit::characters(["ba"], vec![], 4).unwrap());
    let config: TextConfig = serde_json::from_str(r#"{"vocabulary": "bytes", "context": 4}"#).unwrap();
    assert_eq!(config.vocabulary, Vocabulary::Bytes);
}

proptest! {
    #[test]
    fn any_text_survives_a_round_trip(text in any::<String>()) {
        prop_assert_eq!(bytes(1).text(&bytes(1).ids(&text).unwrap()), text.clone());
        if !text.is_empty() {
            let tokenizer = TextTokenizer::new(fit::characters([&*text], vec![], 1).unwrap()).unwrap();
            prop_assert_eq!(tokenizer.text(&tokenizer.ids(&text).unwrap()), text);
        }
    }

    #[test]
    fn any_file_is_read_or_an_error(file in any::<Vec<u8>>()) {
        for text in bytes(256).raw_inputs(&file) {
            prop_assert_eq!(text.is_ok(), !file.is_empty() && std::str::from_utf8(&file).is_ok());
        }
    }

    #[test]
    fn any_ids_are_text(ids in any::<Vec<u32>>()) {
        bytes(1).text(&ids);
        prop_assert!(bytes(1000).tokens(&ids).is_ok() == ids.iter().all(|&id| id < 258));
    }
}
