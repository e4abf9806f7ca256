//! ViT (Dosovitskiy et al. 2021), DeiT (Touvron et al. 2021) and DINOv2 (Oquab et al. 2024) with and without registers.

use super::classifier::Classifier;
use super::interpolate::Grid;
use super::names::{Layout, NameMap};
use super::settings::{MOST_SIZE, Settings};
use super::task::ImportedTask;
use super::{
    Checkpoint, Description, PretrainedError, blocks,
    image::{self, Registers},
};
use crate::model::{AttentionConfig, EmbeddingConfig, MlpConfig, ModelConfig, NormKind, Positions};
use crate::ops::Activation;

/// The most register tokens; published models have 4.
const MOST_REGISTERS: usize = 1 << 12;

/// The differences between the model families.
pub(super) struct Family {
    pub prefix: String,
    /// The names of a block's norms.
    norms: [&'static str; 2],
    /// The names of the linear layers of its MLP.
    mlp: [&'static str; 2],
    registers: Registers,
    /// The name of the tensor of the registers.
    register_token: &'static str,
}

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["hidden_dropout_prob", "attention_probs_dropout_prob", "encoder_stride", "pooler_act"]);
    settings.ignore(&["pooler_output_size", "drop_path_rate", "out_features", "out_indices", "stage_names"]);
    settings.ignore(&[
        "_out_features",
        "_out_indices",
        "apply_layernorm",
        "reshape_hidden_states",
        "use_mask_token",
    ]);
    let dino = checkpoint.kind().starts_with("dinov2");
    let (family, model) = (family(checkpoint)?, model(settings, dino)?);
    let task = image::task(checkpoint, family.registers, None)?;
    let Registers { tokens, positions } = family.registers;
    let before = 1 + if positions { tokens } else { 0 };
    let antialias = checkpoint.kind() == "dinov2_with_registers";
    let positions = image::positions(checkpoint, &task, before, antialias)?;
    let mut names = names(&family, &model, &task, positions);
    if checkpoint.has_classifier() {
        Classifier::read(checkpoint)?.names_of_images(&mut names, dino);
    }
    Ok(Description { model, task, names })
}

fn model(settings: &Settings, dino: bool) -> Result<ModelConfig, PretrainedError> {
    let (d_model, qkv_bias) = (settings.size("hidden_size")?, settings.flag("qkv_bias", true)?);
    let swiglu = settings.flag("use_swiglu_ffn", false)?;
    let d_ff = if dino {
        let ratio = settings.number("mlp_ratio", 4.0)?;
        let width = d_model as f64 * ratio;
        if !(1.0..=MOST_SIZE as f64).contains(&width) {
            let problem =
                format!("expected an MLP of 1 to {MOST_SIZE} features; found {ratio} times {d_model}");
            return Err(settings.refuse("mlp_ratio", problem));
        }
        mlp_of_dino(width as usize, swiglu)
    } else {
        settings.size("intermediate_size")?
    };
    let model = ModelConfig {
        d_model,
        n_layers: settings.layers("num_hidden_layers")?,
        norm: NormKind::Layer,
        norm_eps: settings.number("layer_norm_eps", if dino { 1e-6 } else { 1e-12 })?,
        layer_scale: dino.then_some(settings.number("layerscale_value", 1.0)?),
        attention: AttentionConfig {
            bias: Some(qkv_bias),
            ..AttentionConfig::of_heads(settings.size("num_attention_heads")?)
        },
        mlp: MlpConfig {
            d_ff,
            gated: swiglu,
            activation: match swiglu {
                true => Activation::Silu,
                false => settings.activation("hidden_act", "gelu")?,
            },
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig {
            positions: Positions::Grid,
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        ..ModelConfig::default()
    };
    _ = settings.get("hidden_act");
    Ok(model)
}

impl Family {
    /// ViT, and with a distillation token, which is a register, DeiT.
    pub fn of_vit(prefix: String, registers: usize) -> Self {
        Self {
            prefix,
            norms: ["layernorm_before", "layernorm_after"],
            mlp: ["intermediate.dense", "output.dense"],
            registers: Registers { tokens: registers, positions: true },
            register_token: "embeddings.distillation_token",
        }
    }
}

fn family(checkpoint: &Checkpoint) -> Result<Family, PretrainedError> {
    let settings = &checkpoint.settings;
    let dino = |registers| Family {
        prefix: checkpoint.prefix(if registers > 0 { "dinov2_with_registers." } else { "dinov2." }),
        norms: ["norm1", "norm2"],
        mlp: ["mlp.fc1", "mlp.fc2"],
        registers: Registers { tokens: registers, positions: false },
        register_token: "embeddings.register_tokens",
    };
    let vit = |prefix, registers| Family::of_vit(checkpoint.prefix(prefix), registers);
    Ok(match checkpoint.kind() {
        "deit" => vit("deit.", 1),
        "dinov2" => dino(0),
        "dinov2_with_registers" => dino(match settings.count("num_register_tokens")?.unwrap_or(4) {
            found if found > MOST_REGISTERS => {
                let problem = format!("expected at most {MOST_REGISTERS}; found {found}");
                return Err(settings.refuse("num_register_tokens", problem));
            }
            registers => registers,
        }),
        _ => vit("vit.", 0),
    })
}

/// The width of DINOv2's MLP; rounded up to a multiple of 8 if it is gated.
fn mlp_of_dino(d_ff: usize, swiglu: bool) -> usize {
    if swiglu { (d_ff * 2 / 3).next_multiple_of(8) } else { d_ff }
}

fn names(family: &Family, model: &ModelConfig, task: &ImportedTask, positions: Grid) -> NameMap {
    let mut names = NameMap::default();
    let prefix = &family.prefix;
    let output = task.task.outputs().first().map_or("", |output| &output.name);
    let learned = |name: &str| format!("embed.{output}.{name}");
    let theirs = |name: &str| format!("{prefix}{name}");
    let projection = theirs("embeddings.patch_embeddings.projection");
    names.maps(&["embed.image.patch.map"], &[&projection], true, image::convolution(task));
    let boxed = Layout::Boxed { dims: 3 };
    names.rows(&[&learned("class.table")], &[&theirs("embeddings.cls_token")], boxed);
    let mut grids = vec![learned("class.grid")];
    if family.registers.tokens > 0 {
        names.rows(&[&learned("register.table")], &[&theirs(family.register_token)], boxed);
        grids.extend(family.registers.positions.then(|| learned("register.grid")));
    }
    grids.push("embed.image.patch.grid".into());
    let layout = Layout::Grid(positions);
    let grids: Vec<&str> = grids.iter().map(String::as_str).collect();
    names.rows(&grids, &[&theirs("embeddings.position_embeddings")], layout);
    layers(&mut names, family, model);
    names.map("stack.norm", &theirs("layernorm"), true);
    names.unread(&["pooler.dense.weight", "pooler.dense.bias", "embeddings.mask_token"]);
    names
}

/// Map the layers.
pub(super) fn layers(names: &mut NameMap, family: &Family, model: &ModelConfig) {
    blocks::each(names, model, &format!("{}encoder.layer", family.prefix), |block| {
        let [query, key, value] = ["query", "key", "value"].map(|part| format!("attention.attention.{part}"));
        block.norm("attention_norm", family.norms[0]);
        block.attention([&query, &key, &value, "attention.output.dense"]);
        block.norm("mlp_norm", family.norms[1]);
        match model.mlp.gated {
            true => block.fused_mlp(["mlp.weights_in", "mlp.weights_out"]),
            false => block.mlp(family.mlp),
        }
        if model.layer_scale.is_some() {
            for (ours, theirs) in [("attention_scale", "layer_scale1"), ("mlp_scale", "layer_scale2")] {
                let (ours, theirs) =
                    (block.ours(&format!("{ours}.weight")), block.theirs(&format!("{theirs}.lambda1")));
                block.names.one(&ours, &theirs);
            }
        }
    });
}
