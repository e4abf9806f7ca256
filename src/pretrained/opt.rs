//! OPT (Zhang et al. 2022).

use super::names::{Layout, NameMap};
use super::{Checkpoint, Description, PretrainedError, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, NormPlacement,
};
use serde_json::json;

/// The first rows of the table of positions, which no token has.
const OFFSET: usize = 2;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["dropout", "attention_dropout", "activation_dropout", "layerdrop"]);
    settings.only(&[("layer_norm_elementwise_affine", json!(true))])?;
    let d_model = settings.size("hidden_size")?;
    // The smallest model of all but one size has maps between embeddings of another width and the blocks.
    settings.only(&[("word_embed_proj_dim", json!(d_model))])?;
    settings.only(&[("_remove_final_layer_norm", json!(false))])?;
    let (vocabulary, context) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let bias = Some(settings.flag("enable_bias", true)?);
    let tied = text::tied(checkpoint, true)?;
    let model = ModelConfig {
        d_model,
        n_layers: settings.layers("num_hidden_layers")?,
        norm: NormKind::Layer,
        norm_placement: match settings.flag("do_layer_norm_before", true)? {
            true => NormPlacement::Pre,
            false => NormPlacement::Post,
        },
        attention: AttentionConfig {
            n_heads: settings.size("num_attention_heads")?,
            bias,
            output_bias: bias,
            ..AttentionConfig::default()
        },
        mlp: MlpConfig {
            d_ff: settings.size("ffn_dim")?,
            activation: settings.activation("activation_function", "relu")?,
            bias,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { type_embedding: false, ..EmbeddingConfig::default() },
        head: HeadConfig { tie_embeddings: tied, bias: Some(false), ..HeadConfig::default() },
        ..ModelConfig::default()
    };
    let task = text::next_token(checkpoint, vocabulary, context)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("model.");
    let prefix = format!("{prefix}decoder.");
    let table = format!("{prefix}embed_tokens.weight");
    names.one(&task.embedding("text", "table"), &table);
    let read = Layout::Rows { from: OFFSET, n: context, of: OFFSET + context };
    names.rows(&[&task.embedding("text", "index")], &[&format!("{prefix}embed_positions.weight")], read);
    let bias = bias == Some(true);
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{prefix}layers.{layer}"));
        let ours = |name: &str| format!("{ours}.{name}");
        let theirs = |name: &str| format!("{theirs}.{name}");
        let (key, value) = (theirs("self_attn.k_proj"), theirs("self_attn.v_proj"));
        names.map(&ours("attention_norm"), &theirs("self_attn_layer_norm"), true);
        names.map(&ours("attention.query"), &theirs("self_attn.q_proj"), bias);
        names.maps(&[&ours("attention.key_value")], &[&key, &value], bias, Layout::Same);
        names.map(&ours("attention.output"), &theirs("self_attn.out_proj"), bias);
        names.map(&ours("mlp_norm"), &theirs("final_layer_norm"), true);
        names.map(&ours("mlp.inner"), &theirs("fc1"), bias);
        names.map(&ours("mlp.outer"), &theirs("fc2"), bias);
    }
    if model.norm_placement == NormPlacement::Pre {
        names.map("stack.norm", &format!("{prefix}final_layer_norm"), true);
    }
    text::head(&mut names, "text", tied, &table);
    Ok(Description { model, task, names })
}
