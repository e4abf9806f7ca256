//! The attention rules that a mixer can follow.

use crate::data::{Layout, Stream};
use crate::model::ModelError;
use crate::model::config::{ConfigError, MixerConfig, ModelConfig};
use crate::rules::{AttentionRules, Rule};
use std::sync::Arc;

/// Checks that the rules in each layer without softmax attention are `all` for all tokens of a stream, or `causal` for all.
///
/// # Errors
/// The first layer and the first pair of kinds with another rule.
pub(in crate::model) fn check_rules(
    config: &ModelConfig,
    layouts: &[Layout],
    rules: &[Arc<AttentionRules>],
) -> Result<(), ModelError> {
    for (stream, n_layers) in [(Stream::Main, config.n_layers), (Stream::Encoder, config.n_encoder_layers)] {
        let inputs = layouts.iter().flat_map(|layout| &layout.inputs).filter(|(of, _)| *of == stream);
        let kinds: Vec<Vec<usize>> =
            inputs.map(|(_, kinds)| kinds.iter().map(|(number, _)| *number).collect()).collect();
        for layer in 0..n_layers {
            let Some(mixer) = config.mixer(layer) else { continue };
            let table = &rules[layer.min(rules.len() - 1)];
            kinds.iter().try_for_each(|kinds| check_table(mixer, layer, kinds, table))?;
        }
    }
    Ok(())
}

/// Checks the rules between some kinds.
fn check_table(
    mixer: &MixerConfig,
    layer: usize,
    kinds: &[usize],
    table: &AttentionRules,
) -> Result<(), ModelError> {
    let Some(first) = kinds.first().map(|&kind| table.get(kind, kind)) else { return Ok(()) };
    let causal = Rule::causal();
    let (expected, others) = match mixer {
        MixerConfig::StateSpace(settings) if settings.bidirectional => {
            (&Rule::ALL, "all (it reads both ways)")
        }
        _ if *first == causal => (&causal, "causal"),
        _ => (&Rule::ALL, "all or causal, one rule for all kinds"),
    };
    let mut pairs = kinds.iter().flat_map(|&query| kinds.iter().map(move |&key| (query, key)));
    match pairs.find(|&(query, key)| table.get(query, key) != expected) {
        None => Ok(()),
        Some((query, key)) => {
            let (name, found) = (|kind: usize| &table.kinds()[kind], table.get(query, key));
            let problem = format!(
                "layer {layer} is a {}: expected the attention rule {others}; found {found} for {} that attends to {}: set \
                 model.attention.rules = [{{ query = \"*\", key = \"*\", rule = \"causal\", layers = [{layer}] }}] or another mixer",
                mixer.name(),
                name(query),
                name(key)
            );
            Err(ConfigError { setting: "mixers", problem }.into())
        }
    }
}
