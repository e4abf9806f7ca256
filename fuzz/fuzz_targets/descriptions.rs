//! Descriptions of data sets of episodes: LeRobot, Minari, RLDS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::trajectory::rlds::{Features, shard_lengths};
use smalti::modalities::trajectory::{lerobot, minari};
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| {
    tested(|| lerobot::Info::parse(bytes));
    tested(|| minari::Info::parse(bytes));
    tested(|| Features::parse(bytes));
    tested(|| shard_lengths(bytes));
});
