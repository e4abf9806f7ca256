//! Fitted tokenizers of a run: `tokenizers.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::run::{Run, TOKENIZERS_FILE};
use smalti_fuzz::{new_run, tested};
use std::sync::LazyLock;
use tempfile::TempDir;

static RUN: LazyLock<TempDir> = LazyLock::new(|| new_run("image"));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(RUN.path().join(TOKENIZERS_FILE), bytes).unwrap();
    tested(|| Run::open(RUN.path())?.tasks().map(drop));
});
