//! Published vocabularies: `tokenizer.json`, and the files of GPT-2 and BERT.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::text::published;
use smalti_fuzz::{tested, used};

fuzz_target!(|bytes: &[u8]| {
    tested(|| used(published::tokenizer_json(bytes)));
    tested(|| used(published::bert(bytes)));
    tested(|| used(published::gpt2(br#"{"a": 0, "b": 1, "ab": 2}"#, bytes)));
});
