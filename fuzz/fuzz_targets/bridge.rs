//! Lines of an environment process.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::env::bridge::message::{Hello, first_observation, next_step};
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| {
    tested(|| {
        let hello = Hello::read(bytes)?;
        let rest = bytes.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or(bytes);
        first_observation(rest, 0, &hello)?;
        next_step(rest, 0, &hello).map(drop)
    });
});
