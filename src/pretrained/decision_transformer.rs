//! The decision transformer (Chen et al. 2021): GPT-2 on returns-to-go, states and actions.

use super::names::NameMap;
use super::trajectory::{self, ACTIONS, NEXT_RETURN, NEXT_STATE, OBSERVATIONS, RETURN_TO_GO};
use super::{Checkpoint, Description, PretrainedError, gpt2};
use crate::model::ModelConfig;
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[("add_cross_attention", json!(false)), ("reorder_and_upcast_attn", json!(false))])?;
    settings.ignore(&[
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "n_positions",
        "n_ctx",
        "vocab_size",
        "max_length",
    ]);
    settings.ignore(&["tie_word_embeddings", "summary_type", "summary_use_proj", "summary_activation"]);
    settings.ignore(&["summary_proj_to_labels", "summary_first_dropout"]);
    let mut model =
        ModelConfig { d_model: settings.size("hidden_size")?, ..gpt2::transformer(checkpoint, "relu")? };
    (model.embedding.norm, model.embedding.offset, model.embedding.shared_time) = (true, true, true);
    let task = trajectory::task(checkpoint)?;

    let mut names = NameMap::default();
    for (ours, theirs) in
        [(RETURN_TO_GO, "embed_return"), (OBSERVATIONS, "embed_state"), (ACTIONS, "embed_action")]
    {
        names.map(&task.embedding(ours, "map"), theirs, true);
    }
    names.one("embed.time", "embed_timestep.weight");
    names.map("embed.norm", "embed_ln", true);
    // Its GPT-2 gets position 0 for every token, so that position's vector is added to all tokens.
    names.first_row("embed.offset", "encoder.wpe.weight");
    gpt2::blocks(&mut names, &model, "encoder.");
    for (ours, theirs) in
        [(ACTIONS, "predict_action.0"), (NEXT_STATE, "predict_state"), (NEXT_RETURN, "predict_return")]
    {
        names.map(&format!("head.{ours}"), theirs, true);
    }
    names.unread(&["encoder.wte.weight"]);
    Ok(Description { model, task, names })
}
