//! Records of episodes: `tf.train.Example` in a TFRecord with right checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::trajectory::rlds::frame;
use smalti_fuzz::{Place, rlds, rows, tested};
use std::sync::LazyLock;

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let described = [("features.json", rlds::FEATURES.as_bytes())];
    Place::beside("push-train.tfrecord-00000-of-00001", &described)
});

fuzz_target!(|bytes: &[u8]| tested(|| rows(PLACE.with(&frame(bytes)))));
