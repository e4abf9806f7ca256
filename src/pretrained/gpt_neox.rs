//! GPT-NeoX (Black et al. 2022) and models with its layout, such as Pythia.

use super::names::{Layout, NameMap};
use super::{Checkpoint, Description, PretrainedError, rotary, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, Positions, Sublayers,
};

/// The matrix of the head.
const HEAD: &str = "embed_out.weight";

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout", "hidden_dropout", "classifier_dropout"]);
    // They repeat `rotary_pct` and `rotary_emb_base`, which transformers reads.
    settings.ignore(&["partial_rotary_factor", "rope_theta"]);
    let (vocabulary, context) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let (d_model, n_heads) = (settings.size("hidden_size")?, settings.size("num_attention_heads")?);
    let bias = settings.flag("attention_bias", true)?;
    let tied = text::tied(checkpoint, false)?;
    let model = ModelConfig {
        d_model,
        n_layers: settings.layers("num_hidden_layers")?,
        norm: NormKind::Layer,
        sublayers: match settings.flag("use_parallel_residual", true)? {
            true => Sublayers::Parallel,
            false => Sublayers::Sequential,
        },
        norm_eps: settings.number("layer_norm_eps", 1e-5)?,
        attention: AttentionConfig {
            n_heads,
            bias: Some(bias),
            output_bias: Some(bias),
            rotary: Some(rotary::read(
                settings,
                d_model / n_heads,
                ("rotary_emb_base", 1e4),
                ("rotary_pct", 0.25),
            )?),
            ..AttentionConfig::default()
        },
        mlp: MlpConfig {
            d_ff: settings.size("intermediate_size")?,
            activation: settings.activation("hidden_act", "gelu")?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig {
            positions: Positions::None,
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        head: HeadConfig { tie_embeddings: tied, bias: Some(false), ..HeadConfig::default() },
        ..ModelConfig::default()
    };
    let task = text::next_token(checkpoint, vocabulary, context)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("gpt_neox.");
    let table = format!("{prefix}embed_in.weight");
    names.one(&task.embedding("text", "table"), &table);
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{prefix}layers.{layer}"));
        let ours = |name: &str| format!("{ours}.{name}");
        let theirs = |name: &str| format!("{theirs}.{name}");
        let (query, key_value) = (ours("attention.query"), ours("attention.key_value"));
        let fused = theirs("attention.query_key_value");
        names.map(&ours("attention_norm"), &theirs("input_layernorm"), true);
        for end in ["weight", "bias"].into_iter().take(1 + usize::from(bias)) {
            let of = |name: &str| format!("{name}.{end}");
            let layout = Layout::ByHead { heads: n_heads };
            names.rows(&[&of(&query), &of(&key_value)], &[&of(&fused)], layout);
        }
        names.map(&ours("attention.output"), &theirs("attention.dense"), bias);
        names.map(&ours("mlp_norm"), &theirs("post_attention_layernorm"), true);
        names.map(&ours("mlp.inner"), &theirs("mlp.dense_h_to_4h"), true);
        names.map(&ours("mlp.outer"), &theirs("mlp.dense_4h_to_h"), true);
    }
    names.map("stack.norm", &format!("{prefix}final_layer_norm"), true);
    names.unread(&[".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"]);
    match tied {
        true => names.repeats(HEAD, &table),
        false => names.one("head.text.weight", HEAD),
    }
    Ok(Description { model, task, names })
}
