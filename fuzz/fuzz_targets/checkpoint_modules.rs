//! Modules of a sentence encoder: `modules.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Checkpoint, tested};
use std::sync::LazyLock;

static BESIDE: LazyLock<Checkpoint> = LazyLock::new(|| {
    Checkpoint::new(
        "bert-trunk",
        "modules.json",
        &[("1_Pooling/config.json", r#"{"embedding_dimension": 16, "pooling_mode": ["mean"]}"#)],
    )
});

fuzz_target!(|bytes: &[u8]| tested(|| BESIDE.open_with(bytes)));
