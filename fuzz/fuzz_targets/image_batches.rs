//! Batches of images: IDX and CIFAR-10.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::image::{cifar, idx};
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| {
    tested(|| idx::images(bytes).collect::<Result<Vec<_>, _>>());
    tested(|| idx::labels(bytes));
    tested(|| cifar::images(bytes));
});
