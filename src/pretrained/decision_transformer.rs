//! The decision transformer (Chen et al. 2021), which is GPT-2 on returns, states and actions.

use super::names::NameMap;
use super::{Checkpoint, Description, PretrainedError, gpt2, trajectory};
use crate::transformer::ModelConfig;
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[("add_cross_attention", json!(false)), ("reorder_and_upcast_attn", json!(false))])?;
    settings.neutral(&[
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "n_positions",
        "n_ctx",
        "vocab_size",
        "max_length",
    ]);
    settings.neutral(&["tie_word_embeddings", "summary_type", "summary_use_proj", "summary_activation"]);
    settings.neutral(&["summary_proj_to_labels", "summary_first_dropout"]);
    let model = ModelConfig {
        d_model: settings.size("hidden_size")?,
        embedding_norm: true,
        embedding_offset: true,
        shared_time: true,
        ..gpt2::transformer(checkpoint, "relu")?
    };
    let task = trajectory::task(checkpoint)?;

    let mut names = NameMap::default();
    for (ours, theirs) in [("return", "embed_return"), ("state", "embed_state"), ("action", "embed_action")] {
        names.map(&format!("embed.trajectory.{ours}.map"), theirs, true);
    }
    names.one("embed.time", "embed_timestep.weight");
    names.map("embed.norm", "embed_ln", true);
    // Positions are always asked for at place 0: its vector is added to every token.
    names.first_row("embed.offset", "encoder.wpe.weight");
    gpt2::blocks(&mut names, &model, "encoder.");
    names.map("head.trajectory", "predict_action.0", true);
    names.map("head.trajectory.next_state", "predict_state", true);
    names.map("head.trajectory.next_return", "predict_return", true);
    names.unread(&["encoder.wte.weight"]);
    Ok(Description { model, task, names })
}
