//! OPT (Zhang et al. 2022).

use super::names::Layout;
use super::{Checkpoint, Description, PretrainedError, blocks, text};
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
    let context = settings.size("max_position_embeddings")?;
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
    let text::Decoder { task, mut names, prefix } =
        text::decoder(checkpoint, "model.", ["decoder.embed_tokens", text::HEAD], tied)?;
    let prefix = format!("{prefix}decoder.");
    let read = Layout::Rows { from: OFFSET, n: context, of: OFFSET + context };
    names.rows(&[&task.embedding("text", "index")], &[&format!("{prefix}embed_positions.weight")], read);
    blocks::each(&mut names, &model, &format!("{prefix}layers"), |block| {
        block.norm("attention_norm", "self_attn_layer_norm");
        block.attention(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]);
        block.norm("mlp_norm", "final_layer_norm");
        block.mlp(["fc1", "fc2"]);
    });
    if model.norm_placement == NormPlacement::Pre {
        names.map("stack.norm", &format!("{prefix}final_layer_norm"), true);
    }
    Ok(Description { model, task, names })
}
