//! Archives: tar.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::{Place, rows, tested};
use std::sync::LazyLock;

static PLACE: LazyLock<Place> = LazyLock::new(|| Place::new("x.tar"));

fuzz_target!(|bytes: &[u8]| tested(|| rows(PLACE.with(bytes))));
