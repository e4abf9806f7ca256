//! Export as GGUF, the format of llama.cpp: Llama and GPT-2 with a byte-level BPE vocabulary.

use super::export::{ExportOptions, Exported};
use super::names::Tensors;
use super::settings::Settings;
use super::trained::refused;
use super::{PretrainedError, files, rotary};
use crate::ops::Activation;
use crate::train::{SaveError, Storage, check_new_file, checkpoint};
use candle_core::quantized::gguf_file::{self, Value as Entry};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

/// The names of a block's modules in Llama's checkpoints and in GGUF.
const LLAMA: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
/// The same for GPT-2.
const GPT2: [(&str, &str); 6] = [
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];
/// The names of the other tensors, of both.
const OTHERS: [(&str, &str); 7] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
    ("transformer.wte.weight", "token_embd.weight"),
    ("transformer.wpe.weight", "position_embd.weight"),
    ("transformer.ln_f.weight", "output_norm.weight"),
    ("transformer.ln_f.bias", "output_norm.bias"),
];
/// The tokenizer that a file may have, in the words of an error.
const EXPECTED_TOKENIZER: &str = "expected byte-level BPE with GPT-2's pattern, such as { bpe = 4096 }, or bytes, to export it as \
                                  GGUF";
/// The ends of names of buffers that are no weights.
const UNREAD: [&str; 3] = [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"];

/// A kind of checkpoint that llama.cpp computes and this build writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Llama,
    Gpt2,
}

impl Kind {
    /// The kind of this `model_type`.
    fn of(run: &Path, model_type: &str) -> Result<Self, PretrainedError> {
        match model_type {
            "llama" => Ok(Self::Llama),
            "gpt2" => Ok(Self::Gpt2),
            other => {
                let problem = format!(
                    "expected llama or gpt2, the kinds of an export as GGUF; found {other}: choose another --format"
                );
                Err(refused(run, "kind", problem))
            }
        }
    }

    /// `general.architecture`.
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gpt2 => "gpt2",
        }
    }
}

/// The metadata of a GGUF file.
type Metadata = BTreeMap<String, Entry>;

/// Write a run as a GGUF file; returns the number of its tensors.
///
/// # Errors
/// As of [`export`](super::export), and if the run is not a Llama or GPT-2 that llama.cpp computes, or the file exists.
pub fn export_gguf(run: &Path, file: &Path, options: &ExportOptions) -> Result<usize, PretrainedError> {
    check_new_file(file)?;
    // The settings and the tokenizer are read from a folder.
    let beside = tempfile::tempdir().map_err(|source| SaveError::Write { path: file.into(), source })?;
    let of_kind = |model_type: &str| Kind::of(run, model_type).map(|_| ());
    let exported = Exported::prepare(run, beside.path(), options, of_kind)?;
    let (checkpoint, kind) = (&exported.checkpoint, Kind::of(run, exported.checkpoint.kind())?);
    // Errors name config.json, not a temporary file.
    let config = Value::from(checkpoint.settings.values().clone()).to_string();
    let settings = Settings::parse(files::CONFIG, config.as_bytes())?;
    let mut metadata = match kind {
        Kind::Llama => llama(run, &settings)?,
        Kind::Gpt2 => gpt2(run, &settings)?,
    };
    metadata = metadata.into_iter().map(|(key, value)| (format!("{}.{key}", kind.name()), value)).collect();
    metadata.extend(general(kind, options.storage));
    let Some(tokenizer) = checkpoint.settings_of("tokenizer.json")? else {
        return Err(refused(run, "vocabulary", format!("{EXPECTED_TOKENIZER}; found none")));
    };
    metadata.extend(of_tokenizer(run, &tokenizer, &settings)?);
    let tensors = named(kind, &settings, exported.tensors, options.storage)?;
    let metadata: Vec<(&str, &Entry)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let by_name: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut bytes = Cursor::new(vec![]);
    gguf_file::write(&mut bytes, &metadata, &by_name)?;
    checkpoint::write_atomically(file, bytes.get_ref())?;
    Ok(tensors.len())
}

/// What is said of the file.
fn general(kind: Kind, storage: Storage) -> Metadata {
    let file_type = match storage {
        Storage::F32 => 0,
        Storage::F16 => 1,
        Storage::Bf16 => 32,
    };
    let entries = [
        ("architecture", Entry::String(kind.name().into())),
        ("name", Entry::String("smalti".into())),
        ("file_type", Entry::U32(file_type)),
        ("alignment", Entry::U32(32)),
    ];
    entries.map(|(key, value)| (format!("general.{key}"), value)).into()
}

/// A size among the settings.
fn size(settings: &Settings, key: &str) -> Result<Entry, PretrainedError> {
    Ok(Entry::U32(settings.size(key)? as u32))
}

/// The settings of Llama; those that llama.cpp does not have must have their usual values.
fn llama(run: &Path, settings: &Settings) -> Result<Metadata, PretrainedError> {
    usual(run, settings.activation("hidden_act", "silu")?, Activation::Silu)?;
    let (heads, d_model) = (settings.size("num_attention_heads")?, settings.size("hidden_size")?);
    let d_head = settings.count("head_dim")?.unwrap_or(d_model / heads) as u32;
    let kv_heads = settings.count("num_key_value_heads")?.unwrap_or(heads) as u32;
    let share = ("partial_rotary_factor", 1.0);
    let rotary = rotary::read(settings, d_head as usize, ("rope_theta", 1e4), share)?;
    if rotary.width != 0 || rotary.scaling.is_some() {
        let problem = "expected whole heads and no scaling, to export it as GGUF; found others";
        return Err(settings.refuse("rope_scaling", problem));
    }
    let entries = [
        ("context_length", size(settings, "max_position_embeddings")?),
        ("embedding_length", size(settings, "hidden_size")?),
        ("block_count", size(settings, "num_hidden_layers")?),
        ("feed_forward_length", size(settings, "intermediate_size")?),
        ("attention.head_count", size(settings, "num_attention_heads")?),
        ("attention.head_count_kv", Entry::U32(kv_heads)),
        ("attention.key_length", Entry::U32(d_head)),
        ("attention.value_length", Entry::U32(d_head)),
        ("attention.layer_norm_rms_epsilon", Entry::F32(settings.number("rms_norm_eps", 1e-6)? as f32)),
        ("rope.dimension_count", Entry::U32(d_head)),
        ("rope.freq_base", Entry::F32(rotary.base as f32)),
        ("vocab_size", size(settings, "vocab_size")?),
    ];
    Ok(entries.map(|(key, value)| (key.to_string(), value)).into())
}

/// The settings of GPT-2; those that llama.cpp does not have must have their usual values.
fn gpt2(run: &Path, settings: &Settings) -> Result<Metadata, PretrainedError> {
    usual(run, settings.activation("activation_function", "gelu_new")?, Activation::GeluTanh)?;
    settings
        .only(&[("scale_attn_weights", true.into()), ("scale_attn_by_inverse_layer_idx", false.into())])?;
    let d_model = settings.size("n_embd")?;
    let d_ff = settings.count("n_inner")?.unwrap_or(4 * d_model) as u32;
    let entries = [
        ("context_length", size(settings, "n_positions")?),
        ("embedding_length", size(settings, "n_embd")?),
        ("block_count", size(settings, "n_layer")?),
        ("feed_forward_length", Entry::U32(d_ff)),
        ("attention.head_count", size(settings, "n_head")?),
        ("attention.layer_norm_epsilon", Entry::F32(settings.number("layer_norm_epsilon", 1e-5)? as f32)),
    ];
    Ok(entries.map(|(key, value)| (key.to_string(), value)).into())
}

/// Check that an activation is the one of llama.cpp.
fn usual(run: &Path, found: Activation, expected: Activation) -> Result<(), PretrainedError> {
    match found == expected {
        true => Ok(()),
        false => {
            let [expected, found] = [expected, found].map(|activation| json!(activation));
            let problem =
                format!("expected {expected}, as in llama.cpp, to export it as GGUF; found {found}");
            Err(refused(run, "model.mlp.activation", problem))
        }
    }
}

/// The vocabulary of byte-level BPE with GPT-2's pattern, or without merges, so that the pattern does not matter.
fn of_tokenizer(run: &Path, file: &Settings, settings: &Settings) -> Result<Metadata, PretrainedError> {
    let values = file.values();
    let part = |key: &str| values.get(key).unwrap_or(&Value::Null);
    let merges = part("model")["merges"].as_array().map_or(&[][..], Vec::as_slice);
    let splits = part("pre_tokenizer");
    let is_known = splits["type"] == "ByteLevel"
        && splits["add_prefix_space"] != true
        && (splits["use_regex"] != false || merges.is_empty())
        && part("normalizer").is_null();
    let Some(vocab) = part("model")["vocab"].as_object().filter(|_| is_known) else {
        return Err(refused(run, "vocabulary", format!("{EXPECTED_TOKENIZER}; found another")));
    };
    let n = settings.size("vocab_size")?;
    // Of each id its token and its type: 1 is normal, 3 a control token, 5 unused.
    let mut tokens: Vec<(String, i32)> = (0..n).map(|id| (format!("[PAD{id}]"), 5)).collect();
    let ids = vocab.iter().map(|(token, id)| (id.as_u64(), token.as_str(), 1));
    let added = part("added_tokens").as_array().into_iter().flatten();
    let added = added.map(|token| (token["id"].as_u64(), token["content"].as_str().unwrap_or_default(), 3));
    for (id, token, kind) in ids.chain(added) {
        if let Some(place) = id.and_then(|id| tokens.get_mut(id as usize)) {
            *place = (token.into(), kind);
        }
    }
    let merge = |merge: &Value| match merge.as_array() {
        Some(pair) => pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        None => merge.as_str().unwrap_or_default().into(),
    };
    let texts = |texts: Vec<String>| Entry::Array(texts.into_iter().map(Entry::String).collect());
    let (tokens, kinds): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    let mut entries = BTreeMap::from([
        ("tokenizer.ggml.model".to_string(), Entry::String("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Entry::String("gpt-2".into())),
        ("tokenizer.ggml.tokens".into(), texts(tokens)),
        ("tokenizer.ggml.token_type".into(), Entry::Array(kinds.into_iter().map(Entry::I32).collect())),
        ("tokenizer.ggml.add_bos_token".into(), Entry::Bool(false)),
    ]);
    if !merges.is_empty() {
        entries.insert("tokenizer.ggml.merges".into(), texts(merges.iter().map(merge).collect()));
    }
    for (key, ours) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")] {
        if let Some(id) = settings.id(ours)?.filter(|id| (*id as usize) < n) {
            entries.insert(format!("tokenizer.ggml.{key}"), Entry::U32(id));
        }
    }
    Ok(entries)
}

/// The tensors with their names in GGUF: matrices in this storage, vectors in f32.
fn named(
    kind: Kind,
    settings: &Settings,
    tensors: Tensors,
    storage: Storage,
) -> Result<BTreeMap<String, QTensor>, PretrainedError> {
    let (prefix, modules, heads) = match kind {
        Kind::Llama => ("model.layers.", &LLAMA[..], settings.size("num_attention_heads")?),
        Kind::Gpt2 => ("transformer.h.", &GPT2[..], 1),
    };
    let kv_heads = settings.count("num_key_value_heads")?.unwrap_or(heads);
    let of_matrices = match storage {
        Storage::F32 => GgmlDType::F32,
        Storage::F16 => GgmlDType::F16,
        Storage::Bf16 => GgmlDType::BF16,
    };
    let mut found = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some(theirs) = gguf_name(&name, prefix, modules) else {
            if UNREAD.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let problems = format!("{name} has no place in a GGUF file of {}", kind.name());
            return Err(PretrainedError::Tensors { file: "the run".into(), problems });
        };
        let tensor = tensor.to_dtype(DType::F32)?;
        let tensor = match theirs.rsplit('.').nth(1) {
            // Conv1D of GPT-2 has inputs before outputs.
            _ if kind == Kind::Gpt2 && name.contains(".c_") && tensor.rank() == 2 => {
                tensor.t()?.contiguous()?
            }
            Some("attn_q") => interleaved(&tensor, heads)?,
            Some("attn_k") => interleaved(&tensor, kv_heads)?,
            _ => tensor,
        };
        // A tensor of its own: candle quantizes the whole storage, of which this may be a part.
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        let tensor = Tensor::from_vec(numbers, tensor.dims(), &Device::Cpu)?;
        let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { of_matrices };
        found.insert(theirs, QTensor::quantize(&tensor, dtype)?);
    }
    Ok(found)
}

fn gguf_name(name: &str, prefix: &str, modules: &[(&str, &str)]) -> Option<String> {
    if let Some((_, theirs)) = OTHERS.iter().find(|(ours, _)| *ours == name) {
        return Some(theirs.to_string());
    }
    let (layer, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    let (module, end) = rest.rsplit_once('.')?;
    let (_, theirs) = modules.iter().find(|(ours, _)| *ours == module)?;
    Some(format!("blk.{layer}.{theirs}.{end}"))
}

/// The rows of each head from pairs (i, i + half) to pairs (2i, 2i + 1), which llama.cpp rotates.
fn interleaved(tensor: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let dims = tensor.dims().to_vec();
    let half = dims[0] / heads.max(1) / 2;
    let columns = dims[1..].iter().product::<usize>();
    tensor.reshape((heads, 2, half, columns))?.transpose(1, 2)?.contiguous()?.reshape(dims)
}
