//! Vocabularies of subwords keep the contract, and give the same ids as the `tokenizers` crate.

mod vocabularies;

use proptest::prelude::*;
use serde_json::{Value, json};
use smalti_contract::{Tokenizer, testing::check};
use smalti_text::{Ids, TextConfig, TextTokenizer, Vocabulary, published};
use std::sync::LazyLock;
use vocabularies::{TEXT, bert, build, byte_pairs, byte_pairs_with, llama, unigram, word_pieces};

fn tokenizer(file: Value) -> TextTokenizer {
    build(Vocabulary::Subwords { tokenizer: file })
}

#[test]
fn every_model_conforms() {
    let texts = ["", "not the lowest", "the lower, the low"].map(String::from);
    check(&tokenizer(bert()), &texts).unwrap();
    check(&tokenizer(unigram()), &texts[..2]).unwrap();
    let any = ["", TEXT, "\0 \u{feff}\r\n"].map(String::from);
    check(&tokenizer(byte_pairs()), &any).unwrap();
    check(&tokenizer(llama()), &any).unwrap();
}

#[test]
fn the_whole_vocabulary_is_saved() {
    let config = TextConfig {
        specials: vec!["<mask>".into()],
        ..TextConfig::new(Vocabulary::Subwords { tokenizer: unigram() }, 9)
    };
    let saved = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<TextConfig>(&saved).unwrap(), config, "scores to the last digit");
}

#[test]
fn a_document_has_its_special_tokens_and_a_part_has_none() {
    let tokenizer = tokenizer(bert());
    let (cls, sep) = (tokenizer.special("[CLS]").unwrap(), tokenizer.special("[SEP]").unwrap());
    let ids = tokenizer.ids("not the lowest").unwrap();
    assert_eq!(tokenizer.document("not the lowest").unwrap(), [&[cls], &ids[..], &[sep]].concat());
    assert_eq!(tokenizer.document("").unwrap(), [cls, sep]);
    assert_eq!(tokenizer.encode(&"the".into()).unwrap().len(), 3);
    assert_eq!(tokenizer.text(&tokenizer.document("Not the LOWEST").unwrap()), "not the lowest");
}

#[test]
fn a_truncated_text_keeps_its_special_tokens() {
    let tokenizer = tokenizer(bert());
    let text = "not the lowest".to_string();
    let whole = tokenizer.document(&text).unwrap();
    let truncated = |max_length: usize| {
        let (tokens, truncated) = tokenizer.encode_truncated(&text, max_length).unwrap();
        (tokens.groups[0].content.ids().unwrap().to_vec(), truncated)
    };
    let n = whole.len();
    assert_eq!(truncated(n), (whole.clone(), false));
    assert_eq!(truncated(usize::MAX), (whole.clone(), false));
    assert_eq!(truncated(n - 1), ([&whole[..n - 2], &whole[n - 1..]].concat(), true));
    assert_eq!(truncated(2), (vec![whole[0], whole[n - 1]], true));
}

#[test]
fn special_tokens_are_known_by_name() {
    let tokenizer = |file: Value| {
        let vocabulary = Vocabulary::Subwords { tokenizer: file };
        TextTokenizer::new(TextConfig { specials: vec!["<bos>".into()], ..TextConfig::new(vocabulary, 8) })
            .unwrap()
    };
    let bert = tokenizer(bert());
    assert_eq!((bert.special("[MASK]"), bert.special("the"), bert.special("<eos>")), (Some(4), None, None));
    assert_eq!(bert.special("<bos>"), Some(bert.ordinary_size() as u32));
    assert_eq!(bert.vocabulary_size(), bert.ordinary_size() + 1);
    assert_eq!(tokenizer(unigram()).special("<unk>"), Some(0));
    assert_eq!(bert.ids("[MASK]").unwrap(), [4], "added tokens are recognised in a text");
    assert!(!bert.ids("<bos>").unwrap().contains(&(bert.ordinary_size() as u32)));
}

#[test]
fn texts_are_neither_truncated_nor_padded() {
    let mut file = bert();
    file["truncation"] =
        json!({"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    file["padding"] = json!({
        "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "[PAD]",
    });
    let text = "the the the the the";
    assert_eq!(tokenizer(file).document(text).unwrap(), tokenizer(bert()).document(text).unwrap());
}

#[test]
fn a_vocabulary_with_upper_case_keeps_case() {
    let cased = |more: &str| build(published::bert((word_pieces() + more).as_bytes()).unwrap());
    let (plain, lower, upper) = (cased(""), cased("\n[unused0]"), cased("\nThe"));
    assert_eq!(plain.ids("The").unwrap(), plain.ids("the").unwrap());
    assert_eq!(lower.ids("The").unwrap(), plain.ids("the").unwrap(), "tokens in brackets are ignored");
    assert_eq!(upper.ids("The").unwrap(), [upper.ordinary_size() as u32 - 1]);
}

#[test]
fn lossless_vocabularies_have_lengths_in_bytes() {
    let pairs = tokenizer(byte_pairs());
    assert_eq!(pairs.utf8_len(&pairs.ids(TEXT).unwrap()), Some(TEXT.len()));
    assert_eq!(pairs.utf8_len(&[pairs.ordinary_size() as u32]), Some(0), "beyond the vocabulary");
    let llama = tokenizer(llama());
    assert_eq!(llama.utf8_len(&llama.ids(TEXT).unwrap()), Some(TEXT.len()));
    assert_eq!(tokenizer(bert()).utf8_len(&[5]), None);
    let prefixed =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    assert_eq!(tokenizer(byte_pairs_with("pre_tokenizer", prefixed)).utf8_len(&[5]), None);
}

/// Tokenizers whose texts may be cut, each with the `tokenizers` crate's tokenizer of the same file.
static CUT: LazyLock<Vec<(&str, TextTokenizer, tokenizers::Tokenizer)>> = LazyLock::new(|| {
    let added = json!([
        {"id": 300, "content": "<|end|>", "special": true, "normalized": false, "single_word": false, "lstrip": true, "rstrip": false},
        {"id": 301, "content": "  ", "special": false, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false},
        {"id": 302, "content": "we've", "special": false, "normalized": true, "single_word": true, "lstrip": false, "rstrip": false},
    ]);
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let first = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": true}, bytes,
    ]});
    let files = [
        ("byte pairs", byte_pairs()),
        ("byte pairs with a prefix", byte_pairs_with("pre_tokenizer", bytes)),
        ("byte pairs with added tokens", byte_pairs_with("added_tokens", added)),
        ("byte pairs, normalised", byte_pairs_with("normalizer", json!({"type": "NFKC"}))),
        ("byte pairs of digits and marks", byte_pairs_with("pre_tokenizer", first)),
        ("Llama 3's pattern", llama()),
        ("BERT", bert()),
        ("Unigram", unigram()),
    ];
    let both = |(name, file): (&'static str, Value)| {
        let theirs = serde_json::from_value(file.clone()).unwrap();
        (name, tokenizer(file), theirs)
    };
    files.into_iter().map(both).collect()
});

/// Text with words, punctuation and every type of white space next to each other.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "low", "Lower", "lowest", "the", "we've", "'s", "12", "3456", ".", "...", "!?", "-", "\"", "<|end|>",
        "[MASK]", "東京", "。", "é", "e\u{301}", "\u{301}", "🦀", "▁", "ﬁ", "\u{ad}", "\u{200b}", "\u{feff}",
        "\u{180e}", "\0", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u{a0}", "\u{3000}",
        "\u{85}", "\u{2028}", "\u{1c}",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn cutting_at_borders_keeps_the_ids(text in text()) {
        for (name, ours, theirs) in CUT.iter() {
            let whole = theirs.encode(text.as_str(), false).unwrap();
            prop_assert_eq!(ours.ids(&text).unwrap(), whole.get_ids(), "{}", name);
            let document = theirs.encode(text.as_str(), true).unwrap();
            prop_assert_eq!(ours.document(&text).unwrap(), document.get_ids(), "{}", name);
        }
    }

    #[test]
    fn byte_pairs_survive_a_round_trip_of_any_text(text in any::<String>()) {
        let pairs = &CUT[0].1;
        let ids = pairs.ids(&text).unwrap();
        prop_assert_eq!(pairs.utf8_len(&ids), Some(text.len()));
        prop_assert_eq!(pairs.text(&ids), text);
    }

    #[test]
    fn any_ids_are_text(ids in prop::collection::vec(0..400_u32, 0..40)) {
        for (_, ours, _) in CUT.iter() {
            ours.text(&ids);
        }
    }
}

#[test]
fn threads_and_streams_give_the_same_ids() {
    let text = (0..200_000).map(|i| format!("{} lowest{}", i % 977, if i % 7 == 0 { "\n" } else { " " }));
    let text: String = text.collect();
    assert!(text.len() > 2_000_000);
    for (name, ours, _) in CUT.iter() {
        let ids = ours.ids(&text).unwrap();
        assert_eq!(ours.ids_in_parallel(&text).unwrap(), ids, "{name}");
        let streamed = Ids::read(text.as_bytes(), ours).unwrap();
        assert_eq!(streamed.window(0..streamed.len()).unwrap(), ids, "{name}");
    }
}

#[test]
fn a_text_that_cannot_be_cut_is_an_error_only_if_it_is_long() {
    let whole = tokenizer(byte_pairs_with("normalizer", json!({"type": "Prepend", "prepend": "_"})));
    assert_eq!(Ids::read("a b".as_bytes(), &whole).unwrap().len(), whole.ids("a b").unwrap().len());
    let long = "a b ".repeat(2 << 20);
    let error = Ids::read(long.as_bytes(), &whole).err().unwrap().to_string();
    assert!(error.contains("cannot be cut within 4194304 bytes from byte 0 on"), "{error}");
}
