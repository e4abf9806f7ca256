//! Whether a run still computes what its checkpoint's settings say.

use super::{Description, PretrainedError};
use crate::model::{AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, Model, ModelConfig, Params};
use crate::run::CONFIG_FILE;
use crate::task::Task;
use candle_core::Device;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Check that a run has the parameters, the settings and the attention rules of the published checkpoint.
///
/// # Errors
/// [`PretrainedError`], with the first parameter, setting or rule that differs.
pub(super) fn check(model: &Model, published: &Description, run: &Path) -> Result<(), PretrainedError> {
    let spec = published.task.task.spec().clone();
    check_shapes(model, Model::outline(&published.model, std::slice::from_ref(&spec))?.shapes(), run)?;
    let described = Model::with_params(&published.model, &[spec], Params::blank(&Device::Cpu))?;
    let refuse = |setting: String, problem: String| PretrainedError::Setting {
        file: run.join(CONFIG_FILE).display().to_string(),
        setting,
        problem: format!("{problem}, to export it"),
    };
    let settings = [model, &described].map(|model| json!(comparable(model)));
    if let Some((setting, ours, theirs)) = difference("model", &settings[0], &settings[1]) {
        return Err(refuse(setting, format!("expected {theirs}, as in its checkpoint; found {ours}")));
    }
    match differing_rule(model, &described) {
        Some(problem) => Err(refuse("model.attention.rules".into(), problem)),
        None => Ok(()),
    }
}

/// Check that the parameters have the shapes of the published tensors.
fn check_shapes(
    model: &Model,
    there: &BTreeMap<String, Vec<usize>>,
    run: &Path,
) -> Result<(), PretrainedError> {
    let here = model.params().tensors();
    let differs = here.iter().find(|(name, tensor)| there.get(*name).is_none_or(|of| of != tensor.dims()));
    let problem = match (differs, there.keys().find(|name| !here.contains_key(*name))) {
        (Some((name, tensor)), _) => match there.get(name) {
            Some(of) => {
                format!("{name}: expected {of:?}, as in the published settings; found {:?}", tensor.dims())
            }
            None => format!("{name} belongs to no tensor of the checkpoint"),
        },
        (None, Some(name)) => format!("{name} is missing"),
        (None, None) => return Ok(()),
    };
    let file = run.display().to_string();
    Err(PretrainedError::Tensors {
        file,
        problems: format!("the run no longer has the shapes of its checkpoint: {problem}"),
    })
}

/// Settings without those of training, those that shapes and rules tell, and those of heads that a model does not have.
fn comparable(model: &Model) -> ModelConfig {
    let (config, heads) = (model.config(), model.config().heads(0));
    let mut outputs = model.tasks().iter().flat_map(|task| &task.heads);
    let of_vocabulary = outputs.any(|output| output.head.is_vocabulary());
    let HeadConfig { scale, soft_cap, .. } = config.head.clone();
    let [scale, soft_cap] = [scale, soft_cap].map(|factor| factor.filter(|_| of_vocabulary));
    ModelConfig {
        dropout: 0.0,
        layer_scale: None,
        bias: true,
        attention: AttentionConfig {
            n_kv_heads: heads.n_kv_heads,
            d_head: config.d_head(),
            scale: Some(f64::from(heads.scale)),
            bias: None,
            output_bias: None,
            rules: vec![],
            ..config.attention.clone()
        },
        mlp: MlpConfig { d_ff: config.d_ff(), bias: None, ..config.mlp.clone() },
        embedding: EmbeddingConfig { bias: None, ..config.embedding.clone() },
        head: HeadConfig { scale, soft_cap, ..HeadConfig::default() },
        ..config.clone()
    }
}

/// The first key whose values differ, with both; a key that is left out is null.
fn difference(key: &str, ours: &Value, theirs: &Value) -> Option<(String, Value, Value)> {
    let (Value::Object(a), Value::Object(b)) = (ours, theirs) else {
        return (ours != theirs).then(|| (key.into(), ours.clone(), theirs.clone()));
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let of =
        |values: &serde_json::Map<String, Value>, key: &String| values.get(key).cloned().unwrap_or_default();
    keys.into_iter().find_map(|inner| difference(&format!("{key}.{inner}"), &of(a, inner), &of(b, inner)))
}

/// The first pair of kinds for which a layer has another rule, as an error says it.
fn differing_rule(model: &Model, described: &Model) -> Option<String> {
    let number = |name: &str| model.kinds().iter().position(|kind| kind.name == name);
    let kinds = || described.kinds().iter().enumerate();
    let n_layers = described.config().n_layers.max(described.config().n_encoder_layers);
    for layer in 0..n_layers {
        for ((q, query), (k, key)) in kinds().flat_map(|query| kinds().map(move |key| (query, key))) {
            let (Some(our_q), Some(our_k)) = (number(&query.name), number(&key.name)) else { continue };
            let (found, expected) = (model.rules(layer).get(our_q, our_k), described.rules(layer).get(q, k));
            if found != expected {
                return Some(format!(
                    "expected the rule \"{expected}\" for {} that attends to {} in layer {layer}, as in its checkpoint; \
                     found \"{found}\"",
                    query.name, key.name
                ));
            }
        }
    }
    None
}
