//! Settings of a published checkpoint: `config.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Checkpoint, tested};
use std::sync::LazyLock;

static BESIDE: LazyLock<Checkpoint> = LazyLock::new(|| Checkpoint::new("vit-no-bias", "config.json", &[]));

fuzz_target!(|bytes: &[u8]| tested(|| BESIDE.open_with(bytes)));
