//! Settings are fitted to training texts, or give an error.

use serde_json::json;
use smalti_contract::{File, Registry, TokenizeError, Tokenizer, Value, Values};
use smalti_text::{TextConfig, TextSettings, TextTokenizer, TextUnit, Vocabulary, fit};

/// Values that must not be read.
struct Unreadable;

impl Values for Unreadable {
    fn len(&self) -> usize {
        3
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        Err(TokenizeError::Input(format!("row {index} is unreadable")))
    }
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::Text((*text).into())).collect()
}

fn of(vocabulary: TextUnit) -> TextSettings {
    TextSettings { vocabulary, context: 16, ..TextSettings::default() }
}

fn fitted(settings: TextSettings, values: &dyn Values) -> TextTokenizer {
    TextTokenizer::new(TextTokenizer::fit(settings, None, values).unwrap()).unwrap()
}

fn error_of(settings: TextSettings, values: &dyn Values) -> String {
    TextTokenizer::fit(settings, None, values).unwrap_err().to_string()
}

#[test]
fn characters_are_fitted_to_all_texts() {
    let mut values = texts(&["zebra", "Äpfel"]);
    values.push(Value::Missing);
    values.push(Value::File(File { name: "a.txt".into(), bytes: "é".into() }));
    let config = TextTokenizer::fit(of(TextUnit::Characters), None, &values).unwrap();
    assert_eq!(config.vocabulary, Vocabulary::Characters { characters: "abeflprzÄé".into() });
    assert_eq!((config.context, config.segments, config.lowercase), (16, 0, false));
}

#[test]
fn unknown_defaults_to_true_with_many_texts() {
    let (one, many) = (texts(&["abc"]), texts(&["ab", "c"]));
    let ids = |unknown, values: &Vec<Value>| {
        let settings = TextSettings { unknown, ..of(TextUnit::Characters) };
        fitted(settings, values).ids("abd").map_err(|e| e.to_string())
    };
    let unknown_character = "character 'd' (U+0064) at index 2 of the text is not in the vocabulary of 3 characters: try \
                             unknown=true in training";
    assert_eq!(ids(None, &many).unwrap(), [0, 1, 3]);
    assert_eq!(ids(Some(true), &one).unwrap(), [0, 1, 3]);
    assert_eq!(ids(None, &one).unwrap_err(), unknown_character);
    assert_eq!(ids(Some(false), &many).unwrap_err(), unknown_character);
}

#[test]
fn texts_are_read_in_lower_case() {
    for vocabulary in [TextUnit::Characters, TextUnit::Words, TextUnit::Bpe(300)] {
        let settings = TextSettings { lowercase: true, ..of(vocabulary) };
        let tokenizer = fitted(settings, &texts(&["The Hat ÄÖ "; 9]));
        let text = tokenizer.read(Value::Text("THE hat äö".into())).unwrap();
        assert_eq!(text, "the hat äö");
        let ids = tokenizer.ids(&text).unwrap();
        assert_eq!(tokenizer.text(&ids), text);
        let decoded: Vec<String> = tokenizer.raw_inputs("The".as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(decoded, ["the"]);
        assert_eq!(tokenizer.write(text.clone()).unwrap(), Value::Text(text));
    }
}

#[test]
fn byte_pairs_of_rows_equal_those_of_one_text() {
    let sentence = "low lower lowest\n";
    let whole = fit::bpe(sentence.repeat(50).as_bytes(), 270, vec![], 16).unwrap();
    assert_eq!(TextTokenizer::fit(of(TextUnit::Bpe(270)), None, &texts(&[sentence; 50])).unwrap(), whole);
    let one = texts(&[&sentence.repeat(50)]);
    assert_eq!(TextTokenizer::fit(of(TextUnit::Bpe(270)), None, &one).unwrap(), whole);
}

#[test]
fn words_are_counted_in_all_texts() {
    let rows = texts(&["b a", "the the", "a the"]);
    let settings = TextSettings { min_frequency: 2, ..of(TextUnit::Words) };
    let tokenizer = fitted(settings, &rows);
    assert_eq!(tokenizer.ids("the a b").unwrap(), [1, 2, 0]);
    let whole = fit::words(&b"b a the the a the"[..], 2, vec![], 16).unwrap();
    assert!(*tokenizer.config() == whole, "{:?}", tokenizer.config());
}

#[test]
fn texts_are_read_only_to_fit_a_vocabulary() {
    for vocabulary in [TextUnit::Bytes, TextUnit::Numbers(97)] {
        assert!(fitted(of(vocabulary), &Unreadable).vocabulary_size() > 96);
    }
    for vocabulary in [TextUnit::Characters, TextUnit::Words, TextUnit::Bpe(300)] {
        assert_eq!(error_of(of(vocabulary), &Unreadable), "row 0 is unreadable");
    }
}

#[test]
fn a_run_that_starts_from_another_keeps_its_vocabulary() {
    let before = TextConfig {
        segments: 2,
        lowercase: true,
        specials: vec!["<bos>".into()],
        ..fit::characters(["abc"], vec![], 4).unwrap()
    };
    let settings =
        TextSettings { specials: vec!["<mask>".into(), "<bos>".into()], ..of(TextUnit::Characters) };
    let expected =
        TextConfig { context: 16, specials: vec!["<bos>".into(), "<mask>".into()], ..before.clone() };
    assert_eq!(TextTokenizer::fit(settings, Some(before), &Unreadable).unwrap(), expected);
}

#[test]
fn special_tokens_are_added_once() {
    let specials = || vec!["<unk>".to_string(), "<eos>".into()];
    let settings = TextSettings { specials: specials(), ..of(TextUnit::Words) };
    let tokenizer = fitted(settings, &texts(&["a", "b"]));
    assert_eq!((tokenizer.special("<unk>"), tokenizer.special("<eos>")), (Some(0), Some(3)));
    let settings = TextSettings { specials: specials(), ..of(TextUnit::Characters) };
    let tokenizer = fitted(settings, &texts(&["a", "b"]));
    assert_eq!((tokenizer.special("<unk>"), tokenizer.special("<eos>")), (Some(2), Some(3)));
}

#[test]
fn conflicting_settings_are_errors() {
    let rows = texts(&["a"]);
    assert_eq!(
        error_of(of(TextUnit::Bpe(256)), &rows),
        "text: vocabulary.bpe: expected 257 or more, because 256 are the single bytes; found 256"
    );
    assert_eq!(
        error_of(TextSettings { unknown: Some(true), ..of(TextUnit::Bytes) }, &rows),
        "text: unknown is set; it is only for a vocabulary of characters"
    );
    assert_eq!(
        error_of(TextSettings { min_frequency: 2, ..of(TextUnit::Characters) }, &rows),
        "text: min_frequency is set; it is only for a vocabulary of words"
    );
    let none = TextSettings { min_frequency: 0, ..of(TextUnit::Words) };
    assert_eq!(error_of(none, &rows), "text: min_frequency is 0; it must be at least 1");
    let repeated = TextSettings { specials: vec!["<a>".into(), "<a>".into()], ..of(TextUnit::Bytes) };
    assert_eq!(error_of(repeated, &rows), "text: special token \"<a>\" occurs twice");
    let nothing = TextSettings { context: 0, ..of(TextUnit::Bytes) };
    assert_eq!(error_of(nothing, &rows), "text: context is 0; it must be at least 1");
}

#[test]
fn values_that_are_no_texts_are_errors() {
    for vocabulary in [TextUnit::Characters, TextUnit::Words, TextUnit::Bpe(300)] {
        let error_of = |values: Vec<Value>| error_of(of(vocabulary.clone()), &values);
        let empty = "the text is empty; a vocabulary needs at least 1 character";
        assert_eq!(error_of(vec![]), empty);
        assert_eq!(error_of(vec![Value::Missing, Value::Text("".into())]), empty);
        assert_eq!(error_of(vec![Value::Missing, Value::Number(7.0)]), "expected text; found a number");
        let file = File { name: "a.txt".into(), bytes: vec![b'a', 0xff] };
        assert_eq!(
            error_of(vec![Value::File(file)]),
            "a.txt: expected UTF-8 text; found an invalid byte at offset 1"
        );
    }
    let tokenizer = fitted(of(TextUnit::Bytes), &Unreadable);
    assert_eq!(
        tokenizer.read(Value::vector([1.0])).unwrap_err().to_string(),
        "expected text; found an array [1]"
    );
}

#[test]
fn settings_survive_json() {
    let mut registry = Registry::new();
    registry.register::<TextTokenizer>().unwrap();
    let fit = |settings| registry.fit("text", &settings, None, &texts(&["a b", "a"]));
    for (vocabulary, kind) in [
        (json!("characters"), "character"),
        (json!("bytes"), "byte"),
        (json!("words"), "subword"),
        (json!({"bpe": 257}), "subword"),
        (json!({"numbers": 5}), "id"),
    ] {
        let tokenizer = fit(json!({"vocabulary": vocabulary, "context": 4})).unwrap();
        assert_eq!(tokenizer.spec().kinds[0].name, kind, "{vocabulary}");
    }
    let message = |settings| fit(settings).err().expect("an error").to_string();
    assert_eq!(
        message(json!({"contxt": 4})),
        "text: unknown field `contxt`, expected one of `vocabulary`, `context`, `segments`, `lowercase`, \
         `pad_token_id`, `unknown`, `min_frequency`, `specials`, `separator`, `token_dropout`"
    );
    assert!(
        message(json!({"vocabulary": "letters"})).contains("expected one of `characters`, `bytes`, `words`")
    );
    let settings = TextSettings { unknown: Some(true), lowercase: true, ..of(TextUnit::File("a".into())) };
    let json = serde_json::to_value(&settings).unwrap();
    assert_eq!(serde_json::from_value::<TextSettings>(json).unwrap(), settings);
}

#[test]
fn tokens_are_dropped_only_in_training() {
    let settings = TextSettings { token_dropout: 0.5, ..TextSettings::default() };
    let rows = vec![Value::Text("abcdefgh".repeat(8))];
    let tokenizer = TextTokenizer::new(TextTokenizer::fit(settings, None, &rows).unwrap()).unwrap();
    let unknown = tokenizer.special("<unk>").unwrap();
    let hidden = |seed| {
        let tokens = smalti_contract::AnyTokenizer::encode_value(&tokenizer, rows[0].clone(), seed).unwrap();
        tokens.groups[0].content.ids().unwrap().iter().filter(|id| **id == unknown).count()
    };
    assert!((16..48).contains(&hidden(Some(1))), "{} of 64", hidden(Some(1)));
    assert_eq!(hidden(None), 0);
    let wrong = TextSettings { token_dropout: 1.0, ..TextSettings::default() };
    assert!(TextTokenizer::fit(wrong, None, &rows).unwrap_err().to_string().contains("token_dropout is 1"));
}

#[test]
fn inputs_are_padded_to_the_context_if_an_id_is_set() {
    let settings = TextSettings { pad_token_id: Some(9), context: 5, ..of(TextUnit::Bytes) };
    let tokenizer = fitted(settings.clone(), &texts(&["abc"]));
    let ids = |tokens: &smalti_contract::Tokens| tokens.groups[0].content.ids().unwrap().to_vec();
    let tokens = tokenizer.encode(&"ab".into()).unwrap();
    assert_eq!(ids(&tokens), [97, 98, 9, 9, 9]);
    assert_eq!(tokens.groups[0].positions, [0, 1, 2, 3, 4]);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "ab");
    let (short, truncated) = tokenizer.encode_truncated(&"ab".into(), 3).unwrap();
    assert_eq!((ids(&short), truncated), (vec![97, 98, 9], false));
    let (cut, truncated) = tokenizer.encode_truncated(&"abcdef".into(), 9).unwrap();
    assert_eq!((ids(&cut), truncated), (b"abcde".map(u32::from).to_vec(), true));
    assert!(tokenizer.encode(&"abcdef".into()).is_err(), "longer than the context");
    let before = tokenizer.config().clone();
    let kept = TextTokenizer::fit(of(TextUnit::Bytes), Some(before), &Unreadable).unwrap();
    assert_eq!((kept.pad_token_id, kept.context), (Some(9), 16));
    let refused = |settings| error_of(settings, &texts(&["abc"]));
    let beyond = TextSettings { pad_token_id: Some(256), ..settings.clone() };
    assert!(refused(beyond).contains("pad_token_id is 256; it must be below 256"));
    assert!(refused(TextSettings { context: 1 << 20, ..settings }).contains("at most 65536"));
}
