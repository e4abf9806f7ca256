//! Damaged weights.

use candle_core::{Device, Tensor};
use smalti::train::checkpoint::{self, SaveError, Storage};
use smalti::train::checksums;
use smalti_mutation::{Bound, survives};
use std::collections::BTreeMap;

#[test]
fn damaged_weights_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.safetensors");
    let tensors: BTreeMap<String, Tensor> =
        [("embed.table", vec![5, 3]), ("head.bias", vec![7]), ("scale", vec![])]
            .map(|(name, shape)| {
                (name.to_string(), Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap())
            })
            .into();
    let texts = BTreeMap::from([("step".to_string(), "7".to_string())]);
    let valid = [Storage::F32, Storage::Bf16, Storage::F16].map(|storage| {
        checkpoint::save_as(&path, &tensors, &texts, storage).unwrap();
        std::fs::read(&path).unwrap()
    });
    survives("weights", &valid, Bound::bytes(1 << 18), |bytes| {
        std::fs::write(&path, bytes).map_err(|source| SaveError::Write { path: path.clone(), source })?;
        checkpoint::load(&path, &Device::Cpu)
    });
}

#[test]
fn damaged_checksums_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let tensor = Tensor::ones(7, candle_core::DType::F32, &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([("head.bias".to_string(), tensor)]);
    for name in ["model.safetensors", "state.safetensors"] {
        checkpoint::save_in(place.path(), name, &tensors, &BTreeMap::new(), Storage::F32).unwrap();
    }
    let path = place.path().join(checksums::CHECKSUMS_FILE);
    let valid = [std::fs::read(&path).unwrap()];
    survives("checksums", &valid, Bound::bytes(1 << 20), |bytes| {
        std::fs::write(&path, bytes).map_err(|source| SaveError::Write { path: path.clone(), source })?;
        checksums::verify(place.path())
    });
}
