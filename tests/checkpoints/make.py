"""Makes the checkpoints of this folder: of every published layout a tiny one, with random weights, in settings that the
usual checkpoints do not have, and what transformers says of random inputs.

    python make.py OUT [NAME …]        wants torch and transformers (made with 2.11.0 and 5.24.0; CLIP and classes of DINOv2 with 4.57.6)
"""
import sys
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import save_file

GPT2 = dict(vocab_size=23, n_embd=16, n_layer=2, n_head=2, n_positions=12)
LLAMA = dict(vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=32)
BERT = dict(vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=12)
T5 = dict(vocab_size=23, d_model=16, d_ff=24, d_kv=6, num_layers=1, num_decoder_layers=2, num_heads=2,
          relative_attention_num_buckets=8, relative_attention_max_distance=10)
VIT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4,
           num_labels=3)
DINO = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=8, patch_size=4)
CLIP = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
WHISPER = dict(vocab_size=23, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
               decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=8, max_source_positions=10,
               max_target_positions=12, pad_token_id=2, bos_token_id=0, eos_token_id=1, decoder_start_token_id=0,
               suppress_tokens=None, begin_suppress_tokens=None)
ROPE3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=16)

# Name: class, config.
CHECKPOINTS = {
    "gpt2-untied": (tf.GPT2LMHeadModel, tf.GPT2Config(**GPT2, n_inner=20, activation_function="relu",
                    tie_word_embeddings=False, scale_attn_by_inverse_layer_idx=True)),
    "gpt2-unscaled": (tf.GPT2LMHeadModel, tf.GPT2Config(**GPT2, scale_attn_weights=False)),
    "llama-tied": (tf.LlamaForCausalLM, tf.LlamaConfig(**LLAMA, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "llama3-rope": (tf.LlamaForCausalLM, tf.LlamaConfig(**LLAMA, head_dim=6, rope_parameters=ROPE3)),
    "llama-linear-rope": (tf.LlamaForCausalLM, tf.LlamaConfig(**LLAMA,
                          rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=4.0))),
    "mistral": (tf.MistralForCausalLM, tf.MistralConfig(**LLAMA, sliding_window=4)),
    "bert-trunk": (tf.BertModel, tf.BertConfig(**BERT, type_vocab_size=1)),
    "bert-relu": (tf.BertForMaskedLM, tf.BertConfig(**BERT, hidden_act="relu", layer_norm_eps=1e-5)),
    "t5-gated": (tf.T5ForConditionalGeneration, tf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "t5-plain": (tf.T5ForConditionalGeneration, tf.T5Config(**T5)),
    "vit-no-bias": (tf.ViTForImageClassification, tf.ViTConfig(**VIT, qkv_bias=False, hidden_act="gelu_new")),
    "vit-trunk": (tf.ViTModel, tf.ViTConfig(**{**VIT, "image_size": [8, 12]})),
    "deit": (tf.DeiTForImageClassification, tf.DeiTConfig(**VIT)),
    "dinov2": (tf.Dinov2Model, tf.Dinov2Config(**DINO)),
    "dinov2-registers": (tf.Dinov2WithRegistersModel, tf.Dinov2WithRegistersConfig(**DINO, num_register_tokens=3,
                         use_swiglu_ffn=True)),
    "dinov2-classes": (tf.Dinov2ForImageClassification, tf.Dinov2Config(**DINO, num_labels=3)),
    "dinov2-registers-classes": (tf.Dinov2WithRegistersForImageClassification, tf.Dinov2WithRegistersConfig(
                                 **DINO, num_register_tokens=3, num_labels=3)),
    "deit-teacher": (tf.DeiTForImageClassificationWithTeacher, tf.DeiTConfig(**VIT)),
    "clip-image": (tf.CLIPVisionModelWithProjection, tf.CLIPVisionConfig(**CLIP, image_size=8, patch_size=4, projection_dim=6)),
    "clip-image-trunk": (tf.CLIPVisionModel, tf.CLIPVisionConfig(**CLIP, image_size=8, patch_size=4, hidden_act="gelu")),
    "clip-text": (tf.CLIPTextModelWithProjection, tf.CLIPTextConfig(**CLIP, vocab_size=23, max_position_embeddings=12,
                  projection_dim=6, eos_token_id=20, bos_token_id=21)),
    "clip-text-trunk": (tf.CLIPTextModel, tf.CLIPTextConfig(**CLIP, vocab_size=23, max_position_embeddings=12, eos_token_id=2)),
    "whisper": (tf.WhisperForConditionalGeneration, tf.WhisperConfig(**WHISPER, activation_function="relu")),
    "whisper-classes": (tf.WhisperForAudioClassification, tf.WhisperConfig(**WHISPER, num_labels=3, classifier_proj_size=6)),
    "ast": (tf.ASTForAudioClassification, tf.ASTConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, patch_size=4, frequency_stride=3, time_stride=2, max_length=11, num_mel_bins=12, num_labels=3)),
    "decision-transformer": (tf.DecisionTransformerModel, tf.DecisionTransformerConfig(state_dim=3, act_dim=2,
                             hidden_size=16, n_head=2, n_layer=1, n_positions=40, max_ep_len=20, action_tanh=False,
                             activation_function="gelu_new")),
}



def inputs(config):
    ids = lambda *shape: torch.randint(3, 23, shape)
    kind = config.model_type
    if kind in ("gpt2", "llama", "mistral"):
        return dict(input_ids=ids(2, 11))
    if kind == "audio-spectrogram-transformer":
        return dict(input_values=torch.randn(2, config.max_length, config.num_mel_bins))
    if kind == "clip_text_model":
        given = ids(2, 9)
        # The token that is read: of eos_token_id, or, if that is 2, of the highest id. One text has another after it.
        given[0, 5], given[1, 8], given[0, 7] = (20, 20, 20) if config.eos_token_id == 20 else (22, 22, 22)
        return dict(input_ids=given)
    if kind == "bert":
        mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
        return dict(input_ids=ids(2, 9), attention_mask=mask, token_type_ids=torch.randint(0, config.type_vocab_size, (2, 9)))
    if kind == "t5":
        mask = torch.tensor([[1] * 15, [1] * 7 + [0] * 8])
        return dict(input_ids=ids(2, 15), attention_mask=mask, decoder_input_ids=ids(2, 13))
    if kind == "whisper":
        return dict(input_features=torch.randn(2, config.num_mel_bins, 2 * config.max_source_positions), decoder_input_ids=ids(2, 6)) if config.num_labels != 3 else dict(
            input_features=torch.randn(2, config.num_mel_bins, 2 * config.max_source_positions))
    if kind == "decision_transformer":
        mask = torch.tensor([[1] * 5, [0] * 2 + [1] * 3])
        real = lambda width: torch.randn(2, 5, width)
        return dict(states=real(3), actions=real(2), rewards=real(1), returns_to_go=real(1),
                    timesteps=torch.randint(0, 20, (2, 5)), attention_mask=mask)
    size = config.image_size if isinstance(config.image_size, (list, tuple)) else [config.image_size] * 2
    return dict(pixel_values=torch.randn(2, 3, *size))


def make(name, folder):
    cls, config = CHECKPOINTS[name]
    torch.manual_seed(sum(map(ord, name)))
    model = cls(config).eval()
    with torch.no_grad():
        # Off their initial values, so that one that is dropped or swapped shows.
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        given = inputs(config)
        said = model(**given)
    # One in several files, and one as PyTorch pickles it.
    model.save_pretrained(folder, max_shard_size="12KB" if name == "llama-tied" else "1GB")
    if name == "gpt2-unscaled":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    io = {f"in.{key}": value for key, value in given.items()}
    if config.model_type == "clip_vision_model":
        said.last_hidden_state = None # before the norm that smalti's states come from
    vectors = ("image_embeds", "text_embeds", "pooler_output") if config.model_type.startswith("clip") else ()
    for key in vectors + ("logits", "last_hidden_state", "encoder_last_hidden_state", "action_preds", "return_preds", "state_preds"):
        if key in said and said[key] is not None:
            io[f"out.{key}"] = said[key]
    save_file({key: value.contiguous() for key, value in io.items()}, folder / "io.safetensors")
    for extra in ("generation_config.json", "README.md"):
        (folder / extra).unlink(missing_ok=True)


out = Path(sys.argv[1])
for name in sys.argv[2:] or CHECKPOINTS:
    (out / name).mkdir(parents=True, exist_ok=True)
    make(name, out / name)
    print(name, sum(file.stat().st_size for file in (out / name).iterdir()), "bytes")
