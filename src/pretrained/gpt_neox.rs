//! GPT-NeoX (Black et al. 2022) and models with its layout, such as Pythia.

use super::names::Layout;
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, blocks, rotary, text};
use crate::model::{AttentionConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, Sublayers};

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout", "hidden_dropout", "classifier_dropout"]);
    // They repeat `rotary_pct` and `rotary_emb_base`, which transformers reads.
    settings.ignore(&["partial_rotary_factor", "rope_theta"]);
    let tied = text::tied(checkpoint, false)?;
    let model = model(settings, tied)?;
    let text::Decoder { task, mut names, prefix } =
        text::decoder(checkpoint, "gpt_neox.", ["embed_in", "embed_out.weight"], tied)?;
    blocks::each(&mut names, &model, &format!("{prefix}layers"), |block| {
        let (query, key_value) = (block.ours("attention.query"), block.ours("attention.key_value"));
        let fused = block.theirs("attention.query_key_value");
        block.norm("attention_norm", "input_layernorm");
        for end in ["weight", "bias"].into_iter().take(1 + usize::from(block.attention_bias())) {
            let of = |name: &str| format!("{name}.{end}");
            let layout = Layout::ByHead { heads: model.attention.n_heads };
            block.names.rows(&[&of(&query), &of(&key_value)], &[&of(&fused)], layout);
        }
        block.output("attention.dense");
        block.norm("mlp_norm", "post_attention_layernorm");
        block.mlp(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]);
    });
    names.map("stack.norm", &format!("{prefix}final_layer_norm"), true);
    names.unread(&[".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"]);
    Ok(Description { model, task, names })
}

fn model(settings: &Settings, tied: bool) -> Result<ModelConfig, PretrainedError> {
    let (d_model, n_heads) = (settings.size("hidden_size")?, settings.size("num_attention_heads")?);
    let bias = settings.flag("attention_bias", true)?;
    Ok(ModelConfig {
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
        embedding: blocks::embedding_without_positions(),
        head: HeadConfig { tie_embeddings: tied, bias: Some(false), ..HeadConfig::default() },
        ..ModelConfig::default()
    })
}
