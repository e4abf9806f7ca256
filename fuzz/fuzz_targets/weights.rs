//! Weights of a run: the header of a safetensors file, and its tensors.
#![no_main]

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use smalti::train::checkpoint;
use smalti_fuzz::{Place, tested};
use std::path::Path;
use std::sync::LazyLock;

static PLACE: LazyLock<Place> = LazyLock::new(|| Place::new("model.safetensors"));

fuzz_target!(|bytes: &[u8]| tested(|| checkpoint::load(Path::new(PLACE.with(bytes)), &Device::Cpu)));
