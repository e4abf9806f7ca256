//! Whether a run computes what the settings of a checkpoint say.

use super::{Description, PretrainedError};
use crate::model::{AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, Model, ModelConfig, Params};
use crate::run::CONFIG_FILE;
use crate::task::{Task, TaskSpec};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The names of a run's kinds of token and outputs, and those of the description: the same in an imported run.
#[derive(Default)]
pub(super) struct Renaming {
    /// Kinds of token.
    pub kinds: Vec<(String, String)>,
    /// Outputs.
    pub outputs: Vec<(String, String)>,
}

impl Renaming {
    /// The described name of a parameter.
    pub fn parameter(&self, name: &str) -> String {
        let renamed = |pairs: &[(String, String)], rest: &str| {
            let of = |(ours, theirs): &(String, String)| {
                rest.strip_prefix(ours.as_str())
                    .filter(|end| end.starts_with('.'))
                    .map(|end| format!("{theirs}{end}"))
            };
            pairs.iter().find_map(of)
        };
        let (embed, head) = (name.strip_prefix("embed."), name.strip_prefix("head."));
        let embed =
            embed.and_then(|rest| renamed(&self.kinds, rest).or_else(|| renamed(&self.outputs, rest)));
        let head = head.and_then(|rest| renamed(&self.outputs, rest));
        match (embed, head) {
            (Some(rest), _) => format!("embed.{rest}"),
            (None, Some(rest)) => format!("head.{rest}"),
            (None, None) => name.into(),
        }
    }

    /// The described name of a kind of token.
    fn kind<'a>(&'a self, name: &'a str) -> &'a str {
        self.kinds.iter().find(|(ours, _)| ours == name).map_or(name, |(_, theirs)| theirs)
    }
}

/// A run that is compared with a description.
pub(super) struct Compared<'a> {
    pub model: &'a Model,
    pub renaming: &'a Renaming,
    /// The run's folder.
    pub run: &'a Path,
    /// What the description is of: the run's checkpoint, or a kind.
    pub of: &'a str,
    /// Whether settings are named before shapes: those of a run that was trained here may be any.
    pub settings_first: bool,
}

/// Check that a run has the parameters, the settings and the attention rules of the published checkpoint.
///
/// # Errors
/// [`PretrainedError`], with the first parameter, setting or rule that differs.
pub(super) fn check(compared: &Compared, published: &Description) -> Result<(), PretrainedError> {
    let Compared { model, run, of, .. } = *compared;
    let spec = published.task.task.spec().clone();
    let outline = Model::outline(&published.model, std::slice::from_ref(&spec))?;
    let shapes = check_shapes(compared, outline.shapes());
    if !compared.settings_first {
        shapes?;
        check_settings(compared, published, spec)
    } else {
        // `model.bias` first: other settings follow from it.
        let biases: fn(&ModelConfig) -> Value = |config| json!({ "bias": config.bias });
        for of_settings in [biases, layout].into_iter().filter(|_| shapes.is_err()) {
            let [ours, theirs] = [model.config(), &published.model].map(of_settings);
            if let Some((setting, ours, theirs)) = difference("model", &ours, &theirs) {
                return Err(refused(run, &setting, format!("expected {theirs}, as in {of}; found {ours}")));
            }
        }
        check_settings(compared, published, spec)?;
        shapes
    }
}

fn check_settings(
    compared: &Compared,
    published: &Description,
    spec: TaskSpec,
) -> Result<(), PretrainedError> {
    let Compared { model, renaming, run, of, .. } = *compared;
    let described = Model::with_params(&published.model, &[spec], Params::blank(&Device::Cpu))?;
    let mut settings = [model, &described].map(|model| json!(comparable(model)));
    if let Some(kind) = settings[0].pointer_mut("/embedding/stem/kind") {
        *kind = renaming.kind(kind.as_str().unwrap_or_default()).into();
    }
    if let Some((setting, ours, theirs)) = difference("model", &settings[0], &settings[1]) {
        return Err(refused(run, &setting, format!("expected {theirs}, as in {of}; found {ours}")));
    }
    match differing_rule(compared, &described) {
        Some(problem) => Err(refused(run, "model.attention.rules", problem)),
        None => Ok(()),
    }
}

fn refused(run: &Path, setting: &str, problem: String) -> PretrainedError {
    PretrainedError::Setting {
        file: run.join(CONFIG_FILE).display().to_string(),
        setting: setting.into(),
        problem: format!("{problem}, to export it"),
    }
}

/// The settings that tell which parameters there are, as they act.
fn layout(config: &ModelConfig) -> Value {
    let HeadConfig { tie_embeddings, transform, .. } = config.head;
    json!({
        "norm": config.norm,
        "norm_placement": config.norm_placement,
        "sublayers": config.sublayers,
        "layer_scale": config.layer_scale.is_some(),
        "bias": config.bias,
        "embedding": {
            "positions": config.embedding.positions,
            "type_embedding": config.embedding.type_embedding,
            "norm": config.embedding.norm,
            "bias": config.embedding.bias.unwrap_or(config.bias),
        },
        "attention": {
            "bias": config.attention.bias.unwrap_or(config.bias),
            "output_bias": config.attention.output_bias.unwrap_or(config.bias),
            "qk_norm": config.attention.qk_norm,
            "relative": config.attention.relative.is_some(),
        },
        "mlp": { "gated": config.mlp.gated, "bias": config.mlp.bias.unwrap_or(config.bias) },
        "head": {
            "tie_embeddings": tie_embeddings,
            "bias": config.head.bias.unwrap_or(!tie_embeddings),
            "transform": transform,
        },
    })
}

/// Check that the parameters have the shapes of the published tensors.
fn check_shapes(compared: &Compared, there: &BTreeMap<String, Vec<usize>>) -> Result<(), PretrainedError> {
    let here = compared.model.params().tensors().into_iter();
    let here: BTreeMap<String, Tensor> =
        here.map(|(name, tensor)| (compared.renaming.parameter(&name), tensor)).collect();
    let differs = here.iter().find(|(name, tensor)| there.get(*name).is_none_or(|of| of != tensor.dims()));
    let problem = match (differs, there.keys().find(|name| !here.contains_key(*name))) {
        (Some((name, tensor)), _) => match there.get(name) {
            Some(of) => {
                format!("{name}: expected {of:?}, as in the published settings; found {:?}", tensor.dims())
            }
            None => format!("{name} belongs to no tensor of {}", compared.of),
        },
        (None, Some(name)) => format!("{name} is missing"),
        (None, None) => return Ok(()),
    };
    let verb = if compared.settings_first { "does not have" } else { "no longer has" };
    Err(PretrainedError::Tensors {
        file: compared.run.display().to_string(),
        problems: format!("the run {verb} the shapes of {}: {problem}", compared.of),
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
pub(super) fn difference(key: &str, ours: &Value, theirs: &Value) -> Option<(String, Value, Value)> {
    let (Value::Object(a), Value::Object(b)) = (ours, theirs) else {
        return (!same(ours, theirs)).then(|| (key.into(), ours.clone(), theirs.clone()));
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let of =
        |values: &serde_json::Map<String, Value>, key: &String| values.get(key).cloned().unwrap_or_default();
    keys.into_iter().find_map(|inner| difference(&format!("{key}.{inner}"), &of(a, inner), &of(b, inner)))
}

/// Whether two values are equal; numbers that were written with fewer digits are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()),
        _ => a == b,
    }
}

/// The first pair of kinds for which a layer has another rule, as an error says it.
fn differing_rule(compared: &Compared, described: &Model) -> Option<String> {
    let Compared { model, renaming, of, .. } = *compared;
    let number = |name: &str| model.kinds().iter().position(|kind| renaming.kind(&kind.name) == name);
    let kinds = || described.kinds().iter().enumerate();
    let n_layers = described.config().n_layers.max(described.config().n_encoder_layers);
    for layer in 0..n_layers {
        for ((q, query), (k, key)) in kinds().flat_map(|query| kinds().map(move |key| (query, key))) {
            let (Some(our_q), Some(our_k)) = (number(&query.name), number(&key.name)) else { continue };
            let (found, expected) = (model.rules(layer).get(our_q, our_k), described.rules(layer).get(q, k));
            if found != expected {
                return Some(format!(
                    "expected the rule \"{expected}\" for {} that attends to {} in layer {layer}, as in {of}; \
                     found \"{found}\"",
                    query.name, key.name
                ));
            }
        }
    }
    None
}
