//! The modules of sentence encoders.

use super::{copied, error, part, tensors, write};
use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};
use smalti::inference::{Embedding, embed, embedded_part};
use smalti::pretrained::{self, Pretrained};
use smalti::train::Storage;
use smalti_contract::Value;
use std::collections::HashMap;

fn vector(model: &Pretrained, text: &str) -> Vec<f32> {
    let of = embedded_part(&model.task, None).unwrap();
    let values = vec![Value::Text(text.into())];
    let found = embed((&model.model, 0, &model.task), of, values, &Embedding::default(), 8).unwrap();
    found.vectors.into_iter().next().unwrap()
}

fn modules(after: &[&str]) -> Json {
    let path = |place: usize, name: &str| if place == 0 { String::new() } else { format!("{place}_{name}") };
    let module = |(place, name): (usize, &&str)| {
        json!({ "idx": place, "name": place.to_string(), "path": path(place, name),
                "type": format!("sentence_transformers.models.{name}") })
    };
    Json::Array(["Transformer"].iter().chain(after).enumerate().map(module).collect())
}

#[test]
fn both_forms_of_pooling_are_read() {
    let place = copied("bert-trunk");
    let mut vectors = vec![];
    for (config, pool) in [
        (
            json!({ "word_embedding_dimension": 16, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false }),
            "mean",
        ),
        (json!({ "embedding_dimension": 16, "pooling_mode": "mean", "include_prompt": true }), "mean"),
        (json!({ "embedding_dimension": 16, "pooling_mode": ["mean"] }), "mean"),
        (json!({ "pooling_mode_cls_token": true }), "cls"),
        (json!({ "embedding_dimension": 16, "pooling_mode": "cls" }), "cls"),
    ] {
        write(place.path(), "1_Pooling/config.json", &config);
        vectors.push((pool, vector(&pretrained::open(place.path()).unwrap(), "5 7 9")));
    }
    assert!(vectors.windows(2).all(|two| (two[0].0 == two[1].0) == (two[0].1 == two[1].1)), "{vectors:?}");
    for (config, named) in [
        (json!({ "pooling_mode": "max" }), "max"),
        (json!({ "pooling_mode": ["mean", "cls"] }), "mean and cls"),
        (json!({ "pooling_mode_lasttoken": true }), "lasttoken"),
        (json!({ "pooling_mode": "mean", "alien": 1 }), "alien"),
    ] {
        write(place.path(), "1_Pooling/config.json", &config);
        let found = error(place.path());
        assert!(found.contains("1_Pooling/config.json") && found.contains(named), "{found}");
    }
}

/// A sentence encoder whose linear layer reverses the vector.
fn reversing(activation: &str) -> tempfile::TempDir {
    let place = copied("bert-trunk");
    write(place.path(), "modules.json", &modules(&["Pooling", "Dense", "Normalize"]));
    write(place.path(), "1_Pooling/config.json", &json!({ "pooling_mode_cls_token": true }));
    let dense =
        json!({ "in_features": 16, "out_features": 16, "bias": true, "activation_function": activation });
    write(place.path(), "2_Dense/config.json", &dense);
    let weight = (0..256).map(|i| f32::from(u8::from(i / 16 == 15 - i % 16))).collect::<Vec<_>>();
    let weight = Tensor::from_vec(weight, (16, 16), &Device::Cpu).unwrap();
    let bias = Tensor::full(0.25_f32, 16, &Device::Cpu).unwrap();
    let layer = HashMap::from([("linear.weight", weight), ("linear.bias", bias)]);
    candle_core::safetensors::save(&layer, place.path().join("2_Dense/model.safetensors")).unwrap();
    place
}

#[test]
fn the_linear_layer_of_a_sentence_encoder_is_applied() {
    let plain = copied("bert-trunk");
    write(plain.path(), "1_Pooling/config.json", &json!({ "pooling_mode": "cls" }));
    let plain = vector(&pretrained::open(plain.path()).unwrap(), "5 7 9");
    for (activation, f) in [
        ("torch.nn.modules.linear.Identity", (|x| x) as fn(f32) -> f32),
        ("torch.nn.modules.activation.Tanh", f32::tanh),
        ("torch.nn.modules.activation.ReLU", |x| x.max(0.0)),
    ] {
        let place = reversing(activation);
        let found = vector(&pretrained::open(place.path()).unwrap(), "5 7 9");
        let layer: Vec<f32> = plain.iter().rev().map(|x| f(x + 0.25)).collect();
        let length = layer.iter().map(|x| x * x).sum::<f32>().sqrt();
        let worst = found.iter().zip(&layer).map(|(a, b)| (a - b / length).abs()).fold(0.0, f32::max);
        assert!(found.len() == 16 && worst < 1e-5, "{activation}: off by {worst}");
        // The export has the layer's folder again.
        let at = |name: &str| place.path().join(name);
        pretrained::import(place.path(), &at("run"), Storage::F32, None).unwrap();
        pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
        assert!(tensors(&at("out")).keys().all(|name| !name.contains('/')));
        assert_eq!(tensors(&at("out/2_Dense")).len(), 2);
        assert_eq!(vector(&pretrained::open(&at("out")).unwrap(), "5 7 9"), found);
    }
}

#[test]
fn modules_that_are_not_applied_are_refused_by_name() {
    let refused = |after: &[&str]| {
        let place = reversing("torch.nn.modules.linear.Identity");
        write(place.path(), "modules.json", &modules(after));
        error(place.path())
    };
    for (after, named) in [
        (&["Pooling", "LayerNorm"][..], "LayerNorm"),
        (&["Pooling", "Dense", "Dense"], "the module Dense in \"3_Dense\""),
        (&["WordWeights", "Pooling"], "WordWeights"),
        (&["Normalize"], "Normalize"),
        (&[], "Pooling"),
    ] {
        let found = refused(after);
        assert!(found.contains("modules.json") && found.contains(named), "{found}");
    }
    let place = reversing("torch.nn.modules.activation.Softplus");
    assert!(error(place.path()).contains("Softplus"));
    let place = reversing("torch.nn.modules.linear.Identity");
    write(
        place.path(),
        "config_sentence_transformers.json",
        &json!({ "prompts": { "query": "q: " }, "default_prompt_name": "query" }),
    );
    assert!(error(place.path()).contains("default_prompt_name"));
    std::fs::remove_file(place.path().join("2_Dense/model.safetensors")).unwrap();
    assert!(error(place.path()).contains("2_Dense"));
    let place = copied("gpt2-untied");
    write(place.path(), "modules.json", &modules(&["Pooling"]));
    assert!(error(place.path()).contains("expected a model of type bert"));
}

/// Sentence encoders state the length with the transformer, or with the tokenizer.
#[test]
fn the_length_of_sentences_is_read_in_both_places() {
    let place = copied("bert-trunk");
    write(place.path(), "1_Pooling/config.json", &json!({ "pooling_mode": "mean" }));
    let capacity = || part(&pretrained::open(place.path()).unwrap(), "text").unwrap().capacity();
    write(place.path(), "tokenizer_config.json", &json!({ "model_max_length": 1e30 }));
    assert_eq!(capacity(), Some(12));
    write(place.path(), "tokenizer_config.json", &json!({ "model_max_length": 6 }));
    assert_eq!(capacity(), Some(6));
    let newer = json!({
        "transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
        "modality_config": { "text": { "method": "forward", "method_output_name": "last_hidden_state" } },
    });
    write(place.path(), "sentence_bert_config.json", &newer);
    assert_eq!(capacity(), Some(6));
    write(place.path(), "sentence_bert_config.json", &json!({ "max_seq_length": 4, "do_lower_case": false }));
    assert_eq!(capacity(), Some(4));
}

/// As of BERT; T5's only without a decoder.
#[test]
fn other_encoders_are_sentence_encoders_too() {
    for name in ["roberta", "xlm-roberta", "distilbert", "t5-encoder", "mt5-encoder"] {
        let place = copied(name);
        let mean = vector(&pretrained::open(place.path()).unwrap_or_else(|e| panic!("{name}: {e}")), "5 7 9");
        write(place.path(), "modules.json", &modules(&["Pooling"]));
        write(place.path(), "1_Pooling/config.json", &json!({ "pooling_mode": "cls" }));
        write(place.path(), "sentence_bert_config.json", &json!({ "max_seq_length": 8 }));
        let model = pretrained::open(place.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(part(&model, "text").unwrap().capacity(), Some(8), "{name}");
        assert_ne!(vector(&model, "5 7 9"), mean, "{name}");
        // The export has the positions that the run does not read, and the head of masked tokens.
        let at = |name: &str| place.path().join(name);
        pretrained::import(place.path(), &at("run"), Storage::F32, None).unwrap();
        pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
        let shapes = |folder: &std::path::Path| {
            let found = tensors(folder).into_iter().map(|(name, x)| (name, x.dims().to_vec()));
            found.collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(shapes(&at("out")), shapes(place.path()), "{name}");
    }
    let place = copied("mt5");
    write(place.path(), "modules.json", &modules(&["Pooling"]));
    assert!(error(place.path()).contains("without a decoder"));
}
