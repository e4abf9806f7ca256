//! Whether a run computes what the settings of a checkpoint say.

use super::trained::refused;
use super::{Description, PretrainedError};
use crate::model::{AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, Model, ModelConfig, Params};
use crate::task::{Task, TaskSpec};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};
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

/// A setting that differs; a key that is left out is null.
pub(super) struct Difference {
    setting: String,
    found: Value,
    expected: Value,
}

/// Check that a run has the parameters, the settings and the attention rules of the published checkpoint.
///
/// # Errors
/// [`PretrainedError`], with all settings that differ, or the first parameter or rule.
pub(super) fn check(compared: &Compared, published: &Description) -> Result<(), PretrainedError> {
    let spec = published.task.task.spec().clone();
    let outline = Model::outline(&published.model, std::slice::from_ref(&spec))?;
    let shapes = check_shapes(compared, outline.shapes());
    if !compared.settings_first {
        shapes?;
        return check_settings(compared, published, spec, vec![]);
    }
    let of_shapes = match &shapes {
        Ok(()) => vec![],
        Err(_) => layout(compared.model.config(), &published.model),
    };
    check_settings(compared, published, spec, of_shapes)?;
    shapes
}

/// Check the settings, beside which `differing` ones are known, and the rules.
fn check_settings(
    compared: &Compared,
    published: &Description,
    spec: TaskSpec,
    mut differing: Vec<Difference>,
) -> Result<(), PretrainedError> {
    let Compared { model, renaming, run, of, .. } = *compared;
    let described = Model::with_params(&published.model, &[spec], Params::blank(&Device::Cpu))?;
    let mut settings = [model, &described].map(|model| json!(comparable(model)));
    if let Some(kind) = settings[0].pointer_mut("/embedding/stem/kind") {
        *kind = renaming.kind(kind.as_str().unwrap_or_default()).into();
    }
    differing.extend(differences("model", &settings[0], &settings[1]));
    differing.extend(class_tokens(compared, &described));
    check_same(run, of, &differing, compared.settings_first)?;
    match differing_rule(compared, &described) {
        Some(problem) => Err(refused(run, "model.attention.rules", format!("{problem}, to export it"))),
        None => Ok(()),
    }
}

/// Fails if settings differ from those of a kind or checkpoint; `is_trained` is true for a run that was trained here.
pub(super) fn check_same(
    run: &Path,
    of: &str,
    differing: &[Difference],
    is_trained: bool,
) -> Result<(), PretrainedError> {
    let Some((first, others)) = differing.split_first() else { return Ok(()) };
    let one = |Difference { expected, found, .. }: &Difference| {
        format!("expected {expected}, as in {of}; found {found}")
    };
    let others = others.iter().map(|other| format!("; {}: {}", other.setting, one(other)));
    let advice = if is_trained { advice(differing) } else { ", to export it".into() };
    Err(refused(run, &first.setting, one(first) + &others.collect::<String>() + &advice))
}

/// How to train a run that can be exported.
fn advice(differing: &[Difference]) -> String {
    let (left_out, set): (Vec<_>, Vec<_>) = differing.iter().partition(|differs| differs.expected.is_null());
    let set = set.iter().map(|Difference { setting, expected, .. }| match option(expected) {
        value if value.contains(' ') => format!("--set '{setting}={value}'"),
        value => format!("--set {setting}={value}"),
    });
    let names: Vec<&str> = left_out.iter().map(|differs| differs.setting.as_str()).collect();
    let [set, names] = [set.collect::<Vec<_>>().join(" "), names.join(", ")];
    let with = [("with ", set), ("without ", names)].into_iter().filter(|(_, listed)| !listed.is_empty());
    let with = with.map(|(word, listed)| format!("{word}{listed}")).collect::<Vec<_>>().join(", ");
    format!(". These settings cannot be changed after training: to export a run, train a new one {with}")
}

/// The value of a setting as `--set` reads it, without keys that are left out.
fn option(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(table) => {
            let keys = table.iter().filter(|(_, value)| !value.is_null());
            let keys = keys.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>();
            format!("{{ {} }}", keys.join(", "))
        }
        other => other.to_string(),
    }
}

/// The differing settings that tell which parameters there are, and that other comparisons leave out, as they act.
fn layout(ours: &ModelConfig, theirs: &ModelConfig) -> Vec<Difference> {
    let mut found = differences("model.bias", &ours.bias.into(), &theirs.bias.into());
    let is_same = found.is_empty();
    let biases = |of: &ModelConfig| {
        [
            ("model.embedding.bias", of.embedding.bias),
            ("model.attention.bias", of.attention.bias),
            ("model.attention.output_bias", of.attention.output_bias),
            ("model.mlp.bias", of.mlp.bias),
        ]
    };
    for ((name, own), (_, expected)) in biases(ours).into_iter().zip(biases(theirs)) {
        // A bias that is left out follows from `model.bias`.
        if own.is_some() || is_same {
            let [own, expected] = [own.unwrap_or(ours.bias), expected.unwrap_or(theirs.bias)];
            found.extend(differences(name, &own.into(), &expected.into()));
        }
    }
    let others = |config: &ModelConfig| {
        let HeadConfig { tie_embeddings, transform, bias, .. } = config.head;
        json!({
            "layer_scale": config.layer_scale.map(|_| "any"),
            "head": {
                "tie_embeddings": tie_embeddings,
                "bias": bias.unwrap_or(!tie_embeddings),
                "transform": transform,
            },
        })
    };
    found.extend(differences("model", &others(ours), &others(theirs)));
    found
}

/// The outputs whose class token has a position in one of both models alone.
fn class_tokens(compared: &Compared, described: &Model) -> Vec<Difference> {
    let is_placed = |model: &Model, output: &str| {
        let name = format!("{output}.class");
        model.kinds().iter().find(|kind| kind.name == name).map(|kind| !kind.axes.is_empty())
    };
    let of = |(ours, theirs): &(String, String)| {
        let (found, expected) = (is_placed(compared.model, ours)?, is_placed(described, theirs)?);
        let setting = format!("outputs.{ours}.class_token_position");
        differences(&setting, &found.into(), &expected.into()).pop()
    };
    compared.renaming.outputs.iter().filter_map(of).collect()
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
        depth_init: true,
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

/// The keys whose values differ.
pub(super) fn differences(key: &str, ours: &Value, theirs: &Value) -> Vec<Difference> {
    let (Value::Object(a), Value::Object(b)) = (ours, theirs) else {
        let differs = || Difference { setting: key.into(), found: ours.clone(), expected: theirs.clone() };
        return if same(ours, theirs) { vec![] } else { vec![differs()] };
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let of = |values: &Map<String, Value>, key: &String| values.get(key).cloned().unwrap_or_default();
    keys.into_iter()
        .flat_map(|inner| differences(&format!("{key}.{inner}"), &of(a, inner), &of(b, inner)))
        .collect()
}

/// Whether two values are equal; numbers that were written with fewer digits are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()),
        _ => a == b,
    }
}

/// The first pair of kinds for which a layer has another rule, in the words of an error.
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
