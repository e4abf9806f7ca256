//! BERT (Devlin et al. 2019) and models with its layout, such as MiniLM.

use super::names::{Layout, NameMap};
use super::sentence::SentenceEncoder;
use super::text;
use super::{Checkpoint, Description, PretrainedError};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, NormPlacement,
};
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[
        ("add_cross_attention", json!(false)),
        ("is_decoder", json!(false)),
        ("position_embedding_type", json!("absolute")),
        ("tie_word_embeddings", json!(true)),
        ("pruned_heads", json!({})),
    ])?;
    settings.ignore(&["attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout"]);
    // Google's settings of the pooler, which is not read.
    settings.ignore(&["directionality", "pooler_fc_size", "pooler_num_attention_heads"]);
    settings.ignore(&["pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"]);
    let (vocabulary, positions) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let segments = settings.count("type_vocab_size")?.unwrap_or(2);
    const TRANSFORM: &str = "cls.predictions.transform";
    // A sentence encoder reads at most as many tokens as in its training, and predicts none.
    let sentence = SentenceEncoder::read(checkpoint)?;
    let masked = sentence.is_none() && checkpoint.has(&format!("{TRANSFORM}.dense.weight"));
    let encoder = sentence.unwrap_or_default();
    let dense = encoder.dense.as_ref();
    let context = encoder.most_tokens.map_or(positions, |most| most.min(positions));
    let model = ModelConfig {
        d_model: settings.size("hidden_size")?,
        n_layers: settings.size("num_hidden_layers")?,
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
        head: HeadConfig {
            tie_embeddings: masked,
            bias: dense.map_or(masked.then_some(true), |dense| Some(dense.bias)),
            transform: masked,
            ..HeadConfig::default()
        },
        ..ModelConfig::default()
    };
    let task = match masked {
        true => text::masked(checkpoint, vocabulary, context, segments)?,
        false => text::represented(checkpoint, vocabulary, context, segments, &encoder)?,
    };

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("bert.");
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}");
    names.one(&task.embedding("text", "table"), &embeddings("word_embeddings.weight"));
    let read = Layout::Rows { from: 0, n: context, of: positions };
    names.rows(&[&task.embedding("text", "index")], &[&embeddings("position_embeddings.weight")], read);
    names.one(&task.embedding("text", "segment"), &embeddings("token_type_embeddings.weight"));
    names.map("embed.norm", &embeddings("LayerNorm"), true);
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{prefix}encoder.layer.{layer}"));
        let ours = |name: &str| format!("{ours}.{name}");
        let theirs = |name: &str| format!("{theirs}.{name}");
        names.map(&ours("attention.query"), &theirs("attention.self.query"), true);
        names.maps(
            &[&ours("attention.key_value")],
            &[&theirs("attention.self.key"), &theirs("attention.self.value")],
            true,
            Layout::Same,
        );
        names.map(&ours("attention.output"), &theirs("attention.output.dense"), true);
        names.map(&ours("attention_norm"), &theirs("attention.output.LayerNorm"), true);
        names.map(&ours("mlp.inner"), &theirs("intermediate.dense"), true);
        names.map(&ours("mlp.outer"), &theirs("output.dense"), true);
        names.map(&ours("mlp_norm"), &theirs("output.LayerNorm"), true);
    }
    if masked {
        names.map("head.text.transform", &format!("{TRANSFORM}.dense"), true);
        names.map("head.text.transform_norm", &format!("{TRANSFORM}.LayerNorm"), true);
        names.one("head.text.bias", "cls.predictions.bias");
        names.repeats("cls.predictions.decoder.weight", &embeddings("word_embeddings.weight"));
        names.repeats("cls.predictions.decoder.bias", "cls.predictions.bias");
    } else {
        encoder.names(&mut names, "embedding");
        names.unread(&[
            "cls.predictions.bias",
            "cls.predictions.decoder.weight",
            "cls.predictions.decoder.bias",
        ]);
        names.unread(&["cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias"]);
        names.unread(&[
            "cls.predictions.transform.LayerNorm.weight",
            "cls.predictions.transform.LayerNorm.bias",
        ]);
    }
    // The pooler and the next-sentence head belong to no task here.
    names.unread(&["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"]);
    names.unread(&["cls.seq_relationship.weight", "cls.seq_relationship.bias"]);
    Ok(Description { model, task, names })
}
