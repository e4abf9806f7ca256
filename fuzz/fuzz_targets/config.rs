//! Settings of a run: `run.toml`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::config::RunConfig;
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        tested(|| RunConfig::parse("run.toml", text, &[]));
    }
});
