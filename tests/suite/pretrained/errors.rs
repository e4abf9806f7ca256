//! Tensors, settings and files that do not fit.

use super::{shipped, tensors};
use candle_core::Tensor;
use smalti::pretrained;
use std::collections::HashMap;
use std::path::Path;

/// The error of a checkpoint with changed tensors or settings.
fn error_of(folder: &Path, change: impl Fn(&mut HashMap<String, Tensor>, &mut serde_json::Value)) -> String {
    let place = tempfile::tempdir().unwrap();
    let mut found = tensors(folder);
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    change(&mut found, &mut config);
    candle_core::safetensors::save(&found, place.path().join("model.safetensors")).unwrap();
    std::fs::write(place.path().join("config.json"), config.to_string()).unwrap();
    match pretrained::open(place.path()) {
        Ok(_) => panic!("{}: expected an error", folder.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn tensors_and_settings_that_do_not_fit_are_named() {
    for (name, folder) in shipped() {
        let read = tensors(&folder);
        let wide = read.iter().filter(|(name, x)| {
            x.rank() > 1 && !["wte", "lm_head", "classifier"].iter().any(|part| name.contains(part))
        });
        let (tensor, values) = wide.min_by_key(|(name, _)| name.to_string()).unwrap();
        let dims = values.dims();
        let missing = error_of(&folder, |tensors, _| _ = tensors.remove(tensor));
        assert!(missing.contains(&format!("{tensor} is missing")), "{name}: {missing}");
        let extra = error_of(&folder, |tensors, _| _ = tensors.insert("alien.weight".into(), values.clone()));
        assert!(
            extra.contains("alien.weight") && extra.contains("is not a tensor of this model"),
            "{name}: {extra}"
        );
        let wrong = error_of(&folder, |tensors, _| {
            let longer = Tensor::cat(&[values, values], dims.len() - 1).unwrap();
            tensors.insert(tensor.clone(), longer);
        });
        assert!(wrong.contains(&format!("{tensor} is [")) && wrong.contains("expected ["), "{name}: {wrong}");
        let unknown = error_of(&folder, |_, config| config["alien_setting"] = true.into());
        assert!(unknown.contains("config.json: alien_setting"), "{name}: {unknown}");
    }
}

#[test]
fn unsupported_settings_are_errors() {
    let folders = shipped();
    for (name, setting, value, expected) in [
        ("gpt2-untied", "model_type", serde_json::json!("mamba"), "found \"mamba\""),
        ("gpt2-untied", "n_head", serde_json::json!(3), "expected a divisor of d_model"),
        ("gpt2-untied", "n_embd", serde_json::json!(-16), "expected a count"),
        ("gpt2-untied", "activation_function", serde_json::json!("mish"), "\"mish\""),
        ("gpt2-untied", "add_cross_attention", serde_json::json!(true), "not supported"),
        ("llama-tied", "num_key_value_heads", serde_json::json!(3), "expected a divisor of n_heads"),
        ("llama-tied", "rope_parameters", serde_json::json!({"rope_type": "yarn"}), "\"yarn\""),
        ("bert-relu", "is_decoder", serde_json::json!(true), "not supported"),
        ("whisper", "encoder_ffn_dim", serde_json::json!(20), "decoder_ffn_dim"),
        ("dinov2", "patch_size", serde_json::json!([4, 2]), "square"),
    ] {
        let error = error_of(&folders[name], |_, config| config[setting] = value.clone());
        assert!(error.contains(expected), "{name} {setting}: {error}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let error = |path: &Path| match pretrained::open(path) {
        Ok(_) => panic!("{}: expected an error", path.display()),
        Err(error) => error.to_string(),
    };
    assert!(error(place.path()).contains("has no weights"));
    assert!(error(&place.path().join("none")).contains("has no weights"));
    let from = &shipped()["gpt2-untied"];
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), place.path().join(name)).unwrap();
    }
    let whole = std::fs::read(from.join("model.safetensors")).unwrap();
    for bytes in [&whole[..0], &whole[..7], &whole[..whole.len() / 2], &[255; 64]] {
        std::fs::write(place.path().join("model.safetensors"), bytes).unwrap();
        assert!(error(place.path()).contains("model.safetensors"), "{} bytes", bytes.len());
    }
    std::fs::write(place.path().join("config.json"), "{").unwrap();
    assert!(error(place.path()).contains("config.json"));
    std::fs::write(place.path().join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../b"}}"#)
        .unwrap();
    std::fs::remove_file(place.path().join("model.safetensors")).unwrap();
    assert!(error(place.path()).contains("outside the folder"));
}
