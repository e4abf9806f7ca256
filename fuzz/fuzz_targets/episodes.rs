//! Logs of episodes: npz, JSON lines, Parquet, CSV.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::trajectory::{csv, episodes, minari};
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| {
    tested(|| episodes(bytes).collect::<Result<Vec<_>, _>>());
    tested(|| csv::read(bytes));
    tested(|| minari::read(bytes));
});
