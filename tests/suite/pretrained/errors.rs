//! Tensors, settings and files that do not fit.

use super::{copied, shipped, tensors};
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
            x.rank() > 1 && !["wte", "lm_head", "classifier", "score"].iter().any(|part| name.contains(part))
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

/// Sizes are held against the tensors before a model is built.
#[test]
fn sizes_that_the_tensors_do_not_have_are_errors() {
    let folder = &shipped()["gpt2-untied"];
    for (setting, value, expected) in [
        ("n_layer", 1_000_000_000_u64, "config.json: n_layer: expected at most 10000; found 1000000000"),
        ("n_layer", 9_999, " is missing; … ("),
        ("vocab_size", 1_000_000_000, "config.json: vocab_size: expected at most 16777216"),
        ("vocab_size", 16_777_216, "expected [16777216"),
        ("n_positions", 16_777_216, "expected [16777216"),
        ("n_embd", 1_048_576, "1048576]"),
        ("n_embd", 16_777_216, "model.d_model: expected 1 to 1048576"),
    ] {
        let message = error_of(folder, |_, config| config[setting] = value.into());
        assert!(message.contains(expected), "{setting} = {value}: {message}");
        assert!(message.len() < 2_000, "{setting} = {value}: {message}");
    }
}

/// Nothing is built or printed in the size that a file states.
#[test]
fn numbers_and_lists_that_a_file_states_are_bounded() {
    let folders = shipped();
    let huge = serde_json::json!(1_000_000_000);
    let types = serde_json::json!(vec!["full_attention"; 100_000]);
    let wrong = serde_json::json!([vec!["full_attention"; 100_000], "full_attention"]);
    let labels: serde_json::Map<_, _> = (0..100_000).map(|i| (i.to_string(), "a".into())).collect();
    for (name, setting, value, expected) in [
        (
            "siglip-image",
            "num_channels",
            &huge,
            "num_channels: expected 1 (grey) or 3 (RGB); found 1000000000",
        ),
        ("clip-image", "num_channels", &huge, "num_channels: expected 1 (grey) or 3"),
        ("dinov2", "num_channels", &huge, "num_channels: expected 1 (grey) or 3"),
        ("siglip-image", "image_size", &huge, "expected a size of 1 to 1048575 pixels"),
        ("dinov2", "mlp_ratio", &serde_json::json!(1e30), "mlp_ratio: expected an MLP of 1 to 16777216"),
        ("dinov2-registers", "num_register_tokens", &huge, "num_register_tokens: expected at most 4096"),
        (
            "decision-transformer",
            "state_dim",
            &serde_json::json!(1 << 24),
            "state_dim: expected at most 65536",
        ),
        ("decision-transformer", "act_dim", &serde_json::json!(1 << 24), "act_dim: expected at most 65536"),
        ("bert-classes", "id2label", &labels.into(), "id2label: expected at most 65536 names; found 100000"),
        ("qwen2", "layer_types", &types, "for each layer, 2 as num_hidden_layers; found 100000"),
        (
            "qwen2",
            "layer_types",
            &wrong,
            "expected full_attention or sliding_attention for each layer; found [",
        ),
        ("qwen2", "alien", &types, "--ignore-setting alien"),
        ("qwen2", "model_type", &"a".repeat(1_000_000).into(), "expected one of gpt2"),
    ] {
        let error = error_of(&folders[name], |_, config| config[setting] = value.clone());
        assert!(error.contains(expected), "{name} {setting}: {error}");
        assert!(error.len() < 1_000, "{name} {setting}: {} bytes", error.len());
    }
}

#[test]
fn rotary_positions_without_angles_are_errors_with_the_key_of_the_file() {
    let folders = shipped();
    for (name, setting, key, value, expected) in [
        ("llama-linear-rope", "rope_parameters", "factor", 0.0, "rope_parameters: factor: expected 0.000001"),
        ("llama-linear-rope", "rope_parameters", "factor", -2.0, "found -2"),
        ("llama-linear-rope", "rope_parameters", "rope_theta", 0.0, "rope_parameters: rope_theta: expected"),
        ("llama3-rope", "rope_parameters", "factor", 0.0, "rope_parameters: factor"),
        ("llama3-rope", "rope_parameters", "low_freq_factor", 0.0, "low_freq_factor: expected a positive"),
        ("llama3-rope", "rope_parameters", "high_freq_factor", 1.0, "high_freq_factor: expected more than"),
        (
            "llama3-rope",
            "rope_parameters",
            "original_max_position_embeddings",
            -1.0,
            "original_max_position_embeddings: expected 1 to",
        ),
        ("gemma3", "rope_scaling", "factor", 0.0, "rope_scaling: factor"),
        ("qwen2", "rope_theta", "", -1.0, "config.json: rope_theta: expected a number above 1; found -1"),
        ("modernbert", "local_rope_theta", "", 0.0, "config.json: local_rope_theta: expected"),
        ("gemma3", "rope_local_base_freq", "", 0.0, "config.json: rope_local_base_freq: expected"),
    ] {
        let error = error_of(&folders[name], |_, config| match key {
            "" => config[setting] = value.into(),
            key => config[setting][key] = value.into(),
        });
        assert!(error.contains(expected), "{name} {setting} {key}: {error}");
    }
    let error = error_of(&folders["llama-linear-rope"], |_, config| {
        config["rope_parameters"]["rope_theta"] = "many".into();
    });
    assert!(error.contains("expected a number for rope_theta; found \"many\""), "{error}");
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
        ("roberta-masked", "hidden_act", serde_json::json!("relu"), "expected gelu"),
        ("roberta", "max_position_embeddings", serde_json::json!(3), "expected more than 3"),
        ("roberta", "position_embedding_type", serde_json::json!("relative_key"), "not supported"),
        ("distilbert", "tie_weights_", serde_json::json!(false), "not supported"),
        ("mt5", "is_encoder_decoder", serde_json::json!(false), "not supported"),
        ("llama-tied", "num_key_value_heads", serde_json::json!(3), "expected a divisor of n_heads"),
        ("llama-tied", "rope_parameters", serde_json::json!({"rope_type": "yarn"}), "\"yarn\""),
        ("llama-tied", "sliding_window", serde_json::json!(4), "--ignore-setting sliding_window"),
        ("qwen2", "layer_types", serde_json::json!(["full_attention"]), "for each layer"),
        ("qwen2-window", "sliding_window", serde_json::json!(null), "expected a sliding_window"),
        (
            "phi3",
            "rope_scaling",
            serde_json::json!({"type": "longrope", "long_factor": [1.0]}),
            "\"longrope\"",
        ),
        ("phi3", "partial_rotary_factor", serde_json::json!(0.0), "more than 0"),
        ("phi3", "lm_head_bias", serde_json::json!(true), "not supported"),
        ("phi", "qk_layernorm", serde_json::json!(true), "not supported"),
        ("gemma", "hidden_activation", serde_json::json!("relu"), "same activation"),
        ("gemma2", "attn_logit_softcapping", serde_json::json!(-1.0), "a positive number"),
        ("gemma3", "use_bidirectional_attention", serde_json::json!(true), "not supported"),
        ("modernbert", "classifier_bias", serde_json::json!(true), "as norm_bias"),
        ("modernbert", "classifier_activation", serde_json::json!("relu"), "hidden_activation"),
        ("modernbert", "global_attn_every_n_layers", serde_json::json!(0), "global_attn_every_n_layers"),
        ("opt", "word_embed_proj_dim", serde_json::json!(8), "not supported"),
        ("opt", "_remove_final_layer_norm", serde_json::json!(true), "not supported"),
        ("bert-relu", "is_decoder", serde_json::json!(true), "not supported"),
        ("whisper", "encoder_ffn_dim", serde_json::json!(20), "encoder.layers.0.fc1.weight"),
        ("whisper", "encoder_attention_heads", serde_json::json!(3), "encoder.n_heads"),
        ("siglip-text", "pad_token_id", serde_json::json!(23), "it must be below 23"),
        ("siglip-text", "max_position_embeddings", serde_json::json!(1 << 20), "pad_token_id"),
        ("siglip-text", "alien", serde_json::json!(1), "alien"),
        (
            "siglip-image",
            "vision_use_head",
            serde_json::json!(false),
            "vision_model.head.attention.in_proj_bias",
        ),
        ("siglip-image", "hidden_act", serde_json::json!("mish"), "mish"),
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
    assert!(error(&place.path().join("none")).contains("none: no such file or folder"));
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

/// The loaded parameters of a checkpoint.
fn parameters(folder: &Path) -> HashMap<String, Vec<f32>> {
    let model = pretrained::open(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    model.model.params().tensors().iter().map(|(name, tensor)| (name.to_string(), numbers(tensor))).collect()
}

/// The first BERTs call the weight and the bias of a layer norm gamma and beta.
#[test]
fn older_names_of_layer_norms_are_read() {
    let place = copied("bert-relu");
    let expected = parameters(place.path());
    let renamed = tensors(place.path()).into_iter().map(|(name, tensor)| {
        let older = |end: &str, old: &str| {
            Some(format!("{}LayerNorm.{old}", name.strip_suffix(&format!("LayerNorm.{end}"))?))
        };
        (older("weight", "gamma").or(older("bias", "beta")).unwrap_or(name.clone()), tensor)
    });
    let renamed: HashMap<String, Tensor> = renamed.collect();
    assert!(renamed.keys().any(|name| name.ends_with("LayerNorm.gamma")));
    candle_core::safetensors::save(&renamed, place.path().join("model.safetensors")).unwrap();
    assert_eq!(parameters(place.path()), expected);
}

/// GPT-2 saved by transformers 4.27 to 4.30 holds each block's causal mask as booleans.
#[test]
fn masks_of_any_type_are_not_read() {
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};

    let place = copied("gpt2-untied");
    let expected = parameters(place.path());
    let file = place.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for (dtype, width) in
        [(Dtype::BOOL, 1), (Dtype::I8, 1), (Dtype::U8, 1), (Dtype::U16, 2), (Dtype::U64, 8), (Dtype::F64, 8)]
    {
        let mask = vec![1; 12 * 12 * width];
        let mut views = SafeTensors::deserialize(&whole).unwrap().tensors();
        for layer in 0..2 {
            let view = TensorView::new(dtype, vec![1, 1, 12, 12], &mask).unwrap();
            views.push((format!("transformer.h.{layer}.attn.bias"), view));
        }
        std::fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
        assert_eq!(parameters(place.path()), expected, "{dtype:?}");
    }
}

#[test]
fn inert_settings_of_old_configurations_are_ignored() {
    let folders = shipped();
    for (name, setting, value) in [
        ("gpt2-untied", "_num_labels", serde_json::json!(1)),
        ("gpt2-untied", "xla_device", serde_json::json!(true)),
        ("gpt2-untied", "predict_special_tokens", serde_json::json!(true)),
        ("bert-relu", "directionality", serde_json::json!("bidi")),
        ("bert-relu", "pooler_num_fc_layers", serde_json::json!(3)),
        ("llama-tied", "top_k", serde_json::json!(50)),
        ("qwen2", "sliding_window", serde_json::json!(7)),
        ("qwen2", "use_mrope", serde_json::json!(false)),
        ("phi3", "auto_map", serde_json::json!({"AutoConfig": "configuration_phi3.Phi3Config"})),
        ("gemma2", "cache_implementation", serde_json::json!("hybrid")),
        ("modernbert", "position_embedding_type", serde_json::json!("absolute")),
        ("opt", "activation_dropout", serde_json::json!(0.1)),
        ("gpt-neox", "rope_theta", serde_json::json!(10000)),
    ] {
        let place = copied(name);
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folders[name].join("config.json")).unwrap()).unwrap();
        config[setting] = value;
        std::fs::write(place.path().join("config.json"), config.to_string()).unwrap();
        assert_eq!(parameters(place.path()), parameters(&folders[name]), "{name}: {setting}");
    }
}

/// transformers 5 writes rotary positions by the type of layers.
#[test]
fn rotary_positions_by_type_of_layers_are_read() {
    let older = [
        ("gemma3", vec!["rope_theta", "rope_scaling", "rope_local_base_freq"], 50.0),
        ("modernbert", vec!["global_rope_theta", "local_rope_theta"], 1e4),
    ];
    for (name, keys, local) in older {
        let (place, expected) = (copied(name), pretrained::open(&shipped()[name]).unwrap().config);
        let file = place.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut global = serde_json::json!({"rope_type": "default", "rope_theta": 1000.0});
        if let Some(scaling) = config.get("rope_scaling").filter(|scaling| scaling.is_object()) {
            (global["rope_type"], global["factor"]) = ("linear".into(), scaling["factor"].clone());
        }
        config["rope_parameters"] = serde_json::json!({
            "full_attention": global,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        });
        keys.iter().for_each(|key| _ = config.as_object_mut().unwrap().remove(*key));
        std::fs::write(&file, config.to_string()).unwrap();
        assert_eq!(pretrained::open(place.path()).unwrap().config, expected, "{name}");
    }
}

#[test]
fn a_pytorch_file_before_1_6_is_named_as_such() {
    let place = copied("gpt2-unscaled");
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    std::fs::write(place.path().join("pytorch_model.bin"), magic).unwrap();
    let error = pretrained::open(place.path()).err().unwrap().to_string();
    assert!(
        error.contains("pytorch_model.bin") && error.contains("before 1.6") && error.contains("torch.save"),
        "{error}"
    );
}

#[test]
fn an_import_onto_a_run_asks_for_another_folder() {
    let place = tempfile::tempdir().unwrap();
    let import = || {
        let checkpoint = &shipped()["gpt2-untied"];
        pretrained::import(checkpoint, place.path(), smalti::train::Storage::F32, None)
            .map_err(|error| error.to_string())
    };
    import().unwrap();
    let error = import().unwrap_err();
    assert!(error.contains("holds a run already") && !error.contains("resume"), "{error}");
}
