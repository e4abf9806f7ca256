//! Clips: WAV, FLAC, MP3, Ogg Vorbis, M4A, AAC.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti::modalities::audio::read;
use smalti_fuzz::tested;

fuzz_target!(|bytes: &[u8]| tested(|| read(bytes)));
