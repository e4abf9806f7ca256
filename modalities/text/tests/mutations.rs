//! Damaged vocabularies and texts: no panic, no hang, no memory beyond a bound.

mod vocabularies;

use serde_json::{Value, json};
use smalti_contract::{TokenizeError, Tokenizer};
use smalti_mutation::{Bound, Counting, survives};
use smalti_text::{Ids, TextConfig, TextTokenizer, Vocabulary, published};
use std::slice::from_ref;
use vocabularies::{TEXT, bert, build, byte_pairs, byte_pairs_with, json_of, llama, unigram, word_pieces};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 4 MiB, mostly for the automata of patterns, and 100 bytes for each byte of a vocabulary file.
fn bound() -> Bound {
    Bound::bytes(4 << 20).and_of_file(100)
}

/// Read a vocabulary and use it.
fn used(vocabulary: Result<Vocabulary, TokenizeError>) -> Result<String, TokenizeError> {
    let config = TextConfig::new(vocabulary?, 512);
    let tokenizer = TextTokenizer::new(config)?;
    Ok(tokenizer.text(&tokenizer.document(TEXT)?))
}

#[test]
fn tokenizer_json() {
    let added = json!([{
        "id": 300, "content": "<|end|>", "special": true, "normalized": false, "single_word": false, "lstrip": true,
        "rstrip": false,
    }]);
    let valid = [byte_pairs(), byte_pairs_with("added_tokens", added), llama(), bert(), unigram()];
    let valid = valid.map(|file| serde_json::to_vec(&file).unwrap());
    survives("tokenizer.json", &valid, bound(), |file| used(published::tokenizer_json(file)));
}

/// Damage that keeps the JSON structure: the file's strings and numbers, one in each line, are damaged and put back.
#[test]
fn tokenizer_json_with_other_values() {
    for (name, file) in [("BPE", llama()), ("WordPiece", bert()), ("Unigram", unigram())] {
        let mut values = Vec::new();
        walk(&mut file.clone(), &mut |value| values.push(value.to_string()));
        let valid = values.join("\n").into_bytes();
        survives(&format!("tokenizer.json of {name}, values"), &[valid], bound(), |damaged| {
            let damaged = String::from_utf8_lossy(damaged);
            let (mut changed, mut lines) = (file.clone(), damaged.lines());
            walk(&mut changed, &mut |value| {
                if let Some(line) = lines.next() {
                    *value = serde_json::from_str(line).unwrap_or_else(|_| Value::from(line));
                }
            });
            used(Ok(Vocabulary::Subwords { tokenizer: changed }))
        });
    }
}

/// Visit every string, number, boolean and null.
fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(parts) => parts.values_mut().for_each(|part| walk(part, visit)),
        Value::Array(parts) => parts.iter_mut().for_each(|part| walk(part, visit)),
        other => visit(other),
    }
}

#[test]
fn encoder_json_and_vocab_bpe() {
    let file = byte_pairs();
    let encoder = serde_json::to_vec(&file["model"]["vocab"]).unwrap();
    let pair = |merge: &Value| format!("{} {}\n", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
    let merges: String = file["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let merges = format!("#version: 0.2\n{merges}").into_bytes();
    assert_eq!(
        build(published::gpt2(&encoder, &merges).unwrap()).ids(TEXT).unwrap(),
        build(Vocabulary::Subwords { tokenizer: file }).ids(TEXT).unwrap()
    );
    survives("encoder.json", from_ref(&encoder), bound(), |file| used(published::gpt2(file, &merges)));
    survives("vocab.bpe", from_ref(&merges), bound(), |file| used(published::gpt2(&encoder, file)));
}

#[test]
fn vocab_txt() {
    let valid = word_pieces().into_bytes();
    assert_eq!(json_of(published::bert(&valid).unwrap()), bert());
    survives("vocab.txt", &[valid], bound(), |file| used(published::bert(file)));
}

#[test]
fn texts() {
    let valid = [TEXT.into(), TEXT.repeat(9).into_bytes()];
    for (name, tokenizer) in [
        ("UTF-8 text, bytes", build(Vocabulary::Bytes)),
        ("UTF-8 text, byte pairs", build(Vocabulary::Subwords { tokenizer: byte_pairs() })),
        ("UTF-8 text, word pieces", build(Vocabulary::Subwords { tokenizer: bert() })),
    ] {
        let read = |text: &[u8]| Ids::read(text, &tokenizer).map(|ids| ids.len());
        survives(name, &valid, Bound::bytes(4 << 20).and_of_file(100), read);
    }
}

#[test]
fn settings_beside_a_vocabulary() {
    let valid = [
        r###"{"do_lower_case": false, "strip_accents": true, "tokenize_chinese_chars": false, "cls_token": "[CLS]",
            "added_tokens_decoder": {"0": {"content": "[PAD]", "special": true, "lstrip": false}}}"###,
        r###"{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "add_eos_token": true, "bos_token": "[CLS]",
            "eos_token": {"content": "[SEP]"}, "additional_special_tokens": ["<x>"]}"###,
    ];
    let valid = valid.map(|file| file.as_bytes().to_vec());
    survives("tokenizer_config.json", &valid, bound(), used_beside);
}

/// Open a vocabulary with this `tokenizer_config.json` beside it, and use it.
fn used_beside(file: &[u8]) -> Result<String, TokenizeError> {
    let read = |location: &str| -> Result<Option<Vec<u8>>, TokenizeError> {
        match location {
            "/vocab.txt" => Ok(Some(b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nlow\n##er\n".to_vec())),
            "/tokenizer_config.json" => Ok(Some(file.to_vec())),
            _ => Ok(None),
        }
    };
    let tokenizer = published::open_with("/vocab.txt", 512, &read)?;
    Ok(tokenizer.text(&tokenizer.document(TEXT)?))
}
