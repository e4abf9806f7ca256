//! Lists of the images of a folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Place, rows_of_folder, tested};
use std::sync::LazyLock;

static PLACE: LazyLock<Place> =
    LazyLock::new(|| Place::beside("metadata.csv", &[("0.png", b"one"), ("sub/1.png", b"two")]));

fuzz_target!(|bytes: &[u8]| tested(|| rows_of_folder(&PLACE, bytes)));
