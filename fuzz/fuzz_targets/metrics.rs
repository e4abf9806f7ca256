//! Metrics of a run: `metrics.jsonl`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::report::curves;
use smalti::train::{METRICS_FILE, log};
use smalti_fuzz::{Place, tested};
use std::sync::LazyLock;

static PLACE: LazyLock<Place> = LazyLock::new(|| Place::new(METRICS_FILE));

fuzz_target!(|bytes: &[u8]| {
    PLACE.with(bytes);
    tested(|| log::read(PLACE.folder.path()).map(|lines| curves::panels(&lines)));
});
