//! Damaged vocabularies and texts are read or refused: no panic, no hang, and memory within a bound.

mod vocabularies;

use serde_json::{Value, json};
use smalti_contract::{TokenizeError, Tokenizer};
use smalti_mutation::{Bound, Counting, survives};
use smalti_text::{Ids, TextConfig, TextTokenizer, Vocabulary, published};
use std::slice::from_ref;
use vocabularies::{TEXT, bert, build, byte_pairs, byte_pairs_with, json_of, llama, unigram, word_pieces};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 4 MiB, of which a pattern's automata are the most, and 100 bytes for each of a vocabulary file.
fn bound() -> Bound {
    Bound::bytes(4 << 20).and_of_file(100)
}

/// Reads a vocabulary and uses it.
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
    let good = [byte_pairs(), byte_pairs_with("added_tokens", added), llama(), bert(), unigram()];
    let good = good.map(|file| serde_json::to_vec(&file).unwrap());
    survives("tokenizer.json", &good, bound(), |file| used(published::tokenizer_json(file)));
}

/// Damage that leaves JSON whole: the file's texts and numbers, one a line, are damaged and put back.
#[test]
fn tokenizer_json_with_other_values() {
    for (name, file) in [("BPE", llama()), ("WordPiece", bert()), ("Unigram", unigram())] {
        let mut values = Vec::new();
        walk(&mut file.clone(), &mut |value| values.push(value.to_string()));
        let good = values.join("\n").into_bytes();
        survives(&format!("tokenizer.json of {name}, values"), &[good], bound(), |damaged| {
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

/// Visits every text, number, truth and null.
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
    let good = word_pieces().into_bytes();
    assert_eq!(json_of(published::bert(&good).unwrap()), bert());
    survives("vocab.txt", &[good], bound(), |file| used(published::bert(file)));
}

#[test]
fn texts() {
    let good = [TEXT.into(), TEXT.repeat(9).into_bytes()];
    for (name, tokenizer) in [
        ("UTF-8 text, bytes", build(Vocabulary::Bytes)),
        ("UTF-8 text, byte pairs", build(Vocabulary::Subwords { tokenizer: byte_pairs() })),
        ("UTF-8 text, word pieces", build(Vocabulary::Subwords { tokenizer: bert() })),
    ] {
        let read = |text: &[u8]| Ids::read(text, &tokenizer).map(|ids| ids.len());
        survives(name, &good, Bound::bytes(4 << 20).and_of_file(100), read);
    }
}
