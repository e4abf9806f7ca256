//! DistilBERT (Sanh et al. 2019): BERT's layers without segments, under other names.

use super::encoder::{MaskedNames, TextEncoder};
use super::names::NameMap;
use super::{Checkpoint, Description, PretrainedError, blocks};
use crate::model::{AttentionConfig, EmbeddingConfig, MlpConfig, ModelConfig, NormKind, NormPlacement};
use serde_json::json;

const MASKED: MaskedNames = MaskedNames {
    transform: "vocab_transform",
    norm: "vocab_layer_norm",
    matrix: "vocab_projector",
    bias: "vocab_projector.bias",
};

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[
        ("tie_weights_", json!(true)),
        ("tie_word_embeddings", json!(true)),
        ("pruned_heads", json!({})),
    ])?;
    settings.ignore(&["attention_dropout", "dropout", "qa_dropout", "seq_classif_dropout"]);
    // The file holds the table of positions even if it is of sines.
    settings.ignore(&["sinusoidal_pos_embds"]);
    let positions = settings.size("max_position_embeddings")?;
    let encoder = TextEncoder::read(checkpoint, &MASKED, positions)?;
    let model = ModelConfig {
        d_model: settings.size("dim")?,
        n_layers: settings.layers("n_layers")?,
        norm: NormKind::Layer,
        norm_placement: NormPlacement::Post,
        norm_eps: 1e-12,
        attention: AttentionConfig::of_heads(settings.size("n_heads")?),
        mlp: MlpConfig {
            d_ff: settings.size("hidden_dim")?,
            activation: settings.activation("activation", "gelu")?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { type_embedding: false, norm: true, ..EmbeddingConfig::default() },
        head: encoder.head(),
        ..ModelConfig::default()
    };
    let task = encoder.task(settings.size("vocab_size")?, 0)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("distilbert.");
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}");
    let table = embeddings("word_embeddings.weight");
    names.one(&task.embedding("text", "table"), &table);
    encoder.positions(&mut names, &task, &embeddings("position_embeddings.weight"), (0, positions));
    names.map("embed.norm", &embeddings("LayerNorm"), true);
    blocks::each(&mut names, &model, &format!("{prefix}transformer.layer"), |block| {
        block.attention(["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"]);
        block.norm("attention_norm", "sa_layer_norm");
        block.mlp(["ffn.lin1", "ffn.lin2"]);
        block.norm("mlp_norm", "output_layer_norm");
    });
    encoder.names(&mut names, &table, ["pre_classifier", "classifier"]);
    Ok(Description { model, task, names })
}
