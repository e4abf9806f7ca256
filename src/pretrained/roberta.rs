//! RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2020): BERT's layers with other positions and another head.

use super::bert;
use super::encoder::{MaskedNames, TextEncoder};
use super::names::NameMap;
use super::{Checkpoint, Description, PretrainedError};
use crate::model::ModelConfig;
use crate::ops::Activation;

const MASKED: MaskedNames = MaskedNames {
    transform: "lm_head.dense",
    norm: "lm_head.layer_norm",
    matrix: "lm_head.decoder",
    bias: "lm_head.bias",
};

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    // Row `pad_token_id` is the position of padding, and the first token has the next.
    let rows = settings.size("max_position_embeddings")?;
    let first = settings.count("pad_token_id")?.unwrap_or(1) + 1;
    let positions = rows.checked_sub(first).filter(|&positions| positions > 0).ok_or_else(|| {
        let problem = format!(
            "expected more than {first}, of which pad_token_id and those before it are unused; found {rows}"
        );
        checkpoint.refuse("max_position_embeddings", problem)
    })?;
    let encoder = TextEncoder::read(checkpoint, &MASKED, positions)?;
    let model = ModelConfig { head: encoder.head(), ..bert::transformer(checkpoint)? };
    if encoder.is_masked() && model.mlp.activation != Activation::Gelu {
        let problem =
            "expected gelu, the activation of the head; found another, which the layers alone would have";
        return Err(checkpoint.refuse("hidden_act", problem));
    }
    let segments = settings.count("type_vocab_size")?.unwrap_or(2);
    let task = encoder.task(settings.size("vocab_size")?, segments)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("roberta.");
    let table = bert::embeddings(&mut names, &task, &prefix);
    encoder.positions(&mut names, &task, &bert::position_table(&prefix), (first, rows));
    bert::layers(&mut names, &model, &prefix);
    encoder.names(&mut names, &table, ["classifier.dense", "classifier.out_proj"]);
    Ok(Description { model, task, names })
}
