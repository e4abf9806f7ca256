//! Arrays of NumPy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smalti_fuzz::tested;
use smalti_npy::{Array, Npz};

fuzz_target!(|bytes: &[u8]| {
    tested(|| Array::read(bytes, 1 << 20));
    tested(|| {
        let mut npz = Npz::new(bytes)?;
        npz.names().iter().try_for_each(|name| npz.array(name, 1 << 20).map(drop))
    });
});
