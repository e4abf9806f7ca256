//! Images: PNG, JPEG, GIF, BMP, TIFF, WebP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::image::read;
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| tested(|| read(bytes)));
