//! Published weights: a file of PyTorch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Checkpoint, tested};
use std::sync::LazyLock;

static BESIDE: LazyLock<Checkpoint> =
    LazyLock::new(|| Checkpoint::new("gpt2-untied", "pytorch_model.bin", &[]));

fuzz_target!(|bytes: &[u8]| tested(|| BESIDE.open_with(bytes)));
