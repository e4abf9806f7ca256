//! Settings of a tokenizer beside published weights: `tokenizer_config.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Checkpoint, tested};
use std::sync::LazyLock;

static BESIDE: LazyLock<Checkpoint> = LazyLock::new(|| {
    Checkpoint::new(
        "bert-trunk",
        "tokenizer_config.json",
        &[("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\n")],
    )
});

fuzz_target!(|bytes: &[u8]| tested(|| BESIDE.open_with(bytes)));
