//! Lists of a corpus of speech: Kaldi.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Place, rows_of_folder, tested};
use std::sync::LazyLock;

static PLACE: LazyLock<Place> =
    LazyLock::new(|| Place::beside("wav.scp", &[("a.wav", b"one"), ("text", b"r one\ns two\n")]));

fuzz_target!(|bytes: &[u8]| tested(|| rows_of_folder(&PLACE, bytes)));
