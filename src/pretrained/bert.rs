//! BERT (Devlin et al. 2019) and models with its layout, such as MiniLM.

use super::encoder::{MaskedNames, TextEncoder};
use super::names::NameMap;
use super::task::ImportedTask;
use super::{Checkpoint, Description, PretrainedError, blocks};
use crate::model::{AttentionConfig, EmbeddingConfig, MlpConfig, ModelConfig, NormKind, NormPlacement};
use serde_json::json;

const MASKED: MaskedNames = MaskedNames {
    transform: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    matrix: "cls.predictions.decoder",
    bias: "cls.predictions.bias",
};

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    // Google's settings of the pooler, which is not read.
    settings.ignore(&["directionality", "pooler_fc_size", "pooler_num_attention_heads"]);
    settings.ignore(&["pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"]);
    let positions = settings.size("max_position_embeddings")?;
    let encoder = TextEncoder::read(checkpoint, &MASKED, positions)?;
    let model = ModelConfig { head: encoder.head(), ..transformer(checkpoint)? };
    let segments = settings.count("type_vocab_size")?.unwrap_or(2);
    let task = encoder.task(settings.size("vocab_size")?, segments)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("bert.");
    let table = embeddings(&mut names, &task, &prefix);
    encoder.positions(&mut names, &task, &position_table(&prefix), (0, positions));
    layers(&mut names, &model, &prefix);
    encoder.names(&mut names, &table, [&format!("{prefix}pooler.dense"), "classifier"]);
    // The next-sentence head belongs to no task here.
    names.unread(&["cls.seq_relationship.weight", "cls.seq_relationship.bias"]);
    Ok(Description { model, task, names })
}

/// The settings of BERT's embedding and layers, also those of RoBERTa.
pub(super) fn transformer(checkpoint: &Checkpoint) -> Result<ModelConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[
        ("add_cross_attention", json!(false)),
        ("is_decoder", json!(false)),
        ("position_embedding_type", json!("absolute")),
        ("tie_word_embeddings", json!(true)),
        ("pruned_heads", json!({})),
    ])?;
    settings.ignore(&["attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout"]);
    Ok(ModelConfig {
        d_model: settings.size("hidden_size")?,
        n_layers: settings.layers("num_hidden_layers")?,
        norm: NormKind::Layer,
        norm_placement: NormPlacement::Post,
        norm_eps: settings.number("layer_norm_eps", 1e-12)?,
        attention: AttentionConfig::of_heads(settings.size("num_attention_heads")?),
        mlp: MlpConfig {
            d_ff: settings.size("intermediate_size")?,
            activation: settings.activation("hidden_act", "gelu")?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { type_embedding: false, norm: true, ..EmbeddingConfig::default() },
        ..ModelConfig::default()
    })
}

/// The names of the embeddings of tokens and segments; returns that of the table of tokens.
pub(super) fn embeddings(names: &mut NameMap, task: &ImportedTask, prefix: &str) -> String {
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}");
    let table = embeddings("word_embeddings.weight");
    names.one(&task.embedding("text", "table"), &table);
    names.one(&task.embedding("text", "segment"), &embeddings("token_type_embeddings.weight"));
    names.map("embed.norm", &embeddings("LayerNorm"), true);
    table
}

/// The name of the table of positions.
pub(super) fn position_table(prefix: &str) -> String {
    format!("{prefix}embeddings.position_embeddings.weight")
}

/// The names of the layers.
pub(super) fn layers(names: &mut NameMap, model: &ModelConfig, prefix: &str) {
    blocks::each(names, model, &format!("{prefix}encoder.layer"), |block| {
        let [query, key, value] = ["attention.self.query", "attention.self.key", "attention.self.value"];
        block.attention([query, key, value, "attention.output.dense"]);
        block.norm("attention_norm", "attention.output.LayerNorm");
        block.mlp(["intermediate.dense", "output.dense"]);
        block.norm("mlp_norm", "output.LayerNorm");
    });
}
