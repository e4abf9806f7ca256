"""Makes the checkpoints of this folder: of every published layout a tiny one, with random weights, in settings that the
usual checkpoints do not have, and what transformers says of random inputs.

    python make.py OUT [NAME ...]   wants torch and transformers (made with 2.11.0 and 5.24.0; bert-classes, bert-tags, GPT-2
                                    with classes, mT5, T5's encoder alone, RoBERTa, XLM-R, DistilBERT and those after
                                    NEIGHBOURS, CLIP, SigLIP, whisper-uneven, classes and other grids of DINOv2 with 4.57.6)
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
DISTIL = dict(vocab_size=23, dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=12)
T5 = dict(vocab_size=23, d_model=16, d_ff=24, d_kv=6, num_layers=1, num_decoder_layers=2, num_heads=2,
          relative_attention_num_buckets=8, relative_attention_max_distance=10)
VIT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4,
           num_labels=3)
DINO = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=8, patch_size=4)
GRID = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=16, patch_size=4, num_labels=3)
CLIP = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
SIGLIP = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
WHISPER = dict(vocab_size=23, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
               decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=8, max_source_positions=10,
               max_target_positions=12, pad_token_id=2, bos_token_id=0, eos_token_id=1, decoder_start_token_id=0,
               suppress_tokens=None, begin_suppress_tokens=None)
ROPE3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=16)

SMALL = dict(vocab_size=23, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32)
QWEN = dict(**SMALL, intermediate_size=24, num_key_value_heads=2, rope_theta=1000.0)
GEMMA = dict(**SMALL, intermediate_size=24, num_key_value_heads=2, head_dim=6)
OPT = dict(vocab_size=23, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=24, max_position_embeddings=12)
MODERN = dict(**SMALL, intermediate_size=24, global_attn_every_n_layers=2, local_attention=6, global_rope_theta=1000.0, pad_token_id=0,
              bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, attn_implementation="eager", reference_compile=False)

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
    "roberta": (tf.RobertaModel, tf.RobertaConfig(**BERT, type_vocab_size=1, hidden_act="gelu_new", pad_token_id=2)),
    "roberta-masked": (tf.RobertaForMaskedLM, tf.RobertaConfig(**BERT, layer_norm_eps=1e-5)),
    "xlm-roberta": (tf.XLMRobertaForMaskedLM, tf.XLMRobertaConfig(**BERT, type_vocab_size=1)),
    "distilbert": (tf.DistilBertModel, tf.DistilBertConfig(**DISTIL, sinusoidal_pos_embds=True)),
    "distilbert-masked": (tf.DistilBertForMaskedLM, tf.DistilBertConfig(**DISTIL, activation="relu")),
    "bert-tags": (tf.BertForTokenClassification, tf.BertConfig(**BERT, type_vocab_size=1, num_labels=3)),
    "roberta-classes": (tf.RobertaForSequenceClassification, tf.RobertaConfig(**BERT, type_vocab_size=1,
                        id2label={0: "bad", 1: "fair", 2: "good"}, label2id={"bad": 0, "fair": 1, "good": 2})),
    "roberta-tags": (tf.RobertaForTokenClassification, tf.RobertaConfig(**BERT, type_vocab_size=1,
                     id2label={0: "O", 1: "B-PER", 2: "I-PER"}, label2id={"O": 0, "B-PER": 1, "I-PER": 2})),
    "xlm-roberta-score": (tf.XLMRobertaForSequenceClassification, tf.XLMRobertaConfig(**BERT, type_vocab_size=1,
                          num_labels=1)),
    "xlm-roberta-tags": (tf.XLMRobertaForTokenClassification, tf.XLMRobertaConfig(**BERT, type_vocab_size=1,
                         num_labels=3)),
    "distilbert-labels": (tf.DistilBertForSequenceClassification, tf.DistilBertConfig(**DISTIL, num_labels=3,
                          problem_type="multi_label_classification")),
    "distilbert-tags": (tf.DistilBertForTokenClassification, tf.DistilBertConfig(**DISTIL, num_labels=3)),
    "gpt2-classes": (tf.GPT2ForSequenceClassification, tf.GPT2Config(**GPT2, num_labels=3, pad_token_id=0)),
    "gpt2-tags": (tf.GPT2ForTokenClassification, tf.GPT2Config(**GPT2, num_labels=3)),
    "t5-encoder": (tf.T5EncoderModel, tf.T5Config(**T5, feed_forward_proj="gated-gelu")),
    "mt5": (tf.MT5ForConditionalGeneration, tf.MT5Config(**T5)),
    "mt5-encoder": (tf.MT5EncoderModel, tf.MT5Config(**T5)),
    "bert-classes": (tf.BertForSequenceClassification, tf.BertConfig(**BERT, id2label={0: "bad", 1: "fair", 2: "good"},
                     label2id={"bad": 0, "fair": 1, "good": 2})),
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
    # A grid of 4×4 positions, to be interpolated to others: with registers, antialiased.
    "dinov2-grid": (tf.Dinov2ForImageClassification, tf.Dinov2Config(**GRID)),
    "dinov2-registers-grid": (tf.Dinov2WithRegistersForImageClassification, tf.Dinov2WithRegistersConfig(
                              **GRID, num_register_tokens=1)),
    "deit-teacher": (tf.DeiTForImageClassificationWithTeacher, tf.DeiTConfig(**VIT)),
    "clip-image": (tf.CLIPVisionModelWithProjection, tf.CLIPVisionConfig(**CLIP, image_size=8, patch_size=4, projection_dim=6)),
    "clip-image-trunk": (tf.CLIPVisionModel, tf.CLIPVisionConfig(**CLIP, image_size=8, patch_size=4, hidden_act="gelu")),
    "clip-text": (tf.CLIPTextModelWithProjection, tf.CLIPTextConfig(**CLIP, vocab_size=23, max_position_embeddings=12,
                  projection_dim=6, eos_token_id=20, bos_token_id=21)),
    "clip-text-trunk": (tf.CLIPTextModel, tf.CLIPTextConfig(**CLIP, vocab_size=23, max_position_embeddings=12, eos_token_id=2)),
    "siglip-image": (tf.SiglipVisionModel, tf.SiglipVisionConfig(**SIGLIP, image_size=8, patch_size=4)),
    "siglip-text": (tf.SiglipTextModel, tf.SiglipTextConfig(**SIGLIP, vocab_size=23, max_position_embeddings=12, pad_token_id=1)),
    "whisper-uneven": (tf.WhisperForConditionalGeneration, tf.WhisperConfig(**{**WHISPER, "encoder_layers": 2, "decoder_layers": 1,
                       "encoder_attention_heads": 4, "encoder_ffn_dim": 20})),
    "whisper": (tf.WhisperForConditionalGeneration, tf.WhisperConfig(**WHISPER, activation_function="relu")),
    "whisper-classes": (tf.WhisperForAudioClassification, tf.WhisperConfig(**WHISPER, num_labels=3, classifier_proj_size=6)),
    "ast": (tf.ASTForAudioClassification, tf.ASTConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, patch_size=4, frequency_stride=3, time_stride=2, max_length=11, num_mel_bins=12, num_labels=3)),
    "decision-transformer": (tf.DecisionTransformerModel, tf.DecisionTransformerConfig(state_dim=3, act_dim=2,
                             hidden_size=16, n_head=2, n_layer=1, n_positions=40, max_ep_len=20, action_tanh=False,
                             activation_function="gelu_new")),
    # NEIGHBOURS
    "qwen2": (tf.Qwen2ForCausalLM, tf.Qwen2Config(**QWEN)),
    "qwen2-window": (tf.Qwen2ForCausalLM, tf.Qwen2Config(**QWEN, tie_word_embeddings=True, use_sliding_window=True,
                     sliding_window=4, max_window_layers=1)),
    "qwen3": (tf.Qwen3ForCausalLM, tf.Qwen3Config(**QWEN, head_dim=6, tie_word_embeddings=True)),
    "phi3": (tf.Phi3ForCausalLM, tf.Phi3Config(**QWEN, pad_token_id=0, bos_token_id=1, eos_token_id=2, sliding_window=5)),
    "phi3-partial": (tf.Phi3ForCausalLM, tf.Phi3Config(**QWEN, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                     partial_rotary_factor=0.5, tie_word_embeddings=True)),
    "phi": (tf.PhiForCausalLM, tf.PhiConfig(**QWEN, partial_rotary_factor=0.5)),
    "gemma": (tf.GemmaForCausalLM, tf.GemmaConfig(**GEMMA)),
    # Both caps are below the largest scores and logits; the window is in the first layer.
    "gemma2": (tf.Gemma2ForCausalLM, tf.Gemma2Config(**GEMMA, query_pre_attn_scalar=9, sliding_window=4,
               attn_logit_softcapping=1.5, final_logit_softcapping=2.0, attn_implementation="eager")),
    "gemma3": (tf.Gemma3ForCausalLM, tf.Gemma3TextConfig(**GEMMA, query_pre_attn_scalar=9, sliding_window=4, rope_theta=1000.0,
               rope_local_base_freq=50.0, rope_scaling=dict(rope_type="linear", factor=4.0),
               layer_types=["sliding_attention", "full_attention"])),
    "modernbert": (tf.ModernBertForMaskedLM, tf.ModernBertConfig(**MODERN)),
    "modernbert-trunk": (tf.ModernBertModel, tf.ModernBertConfig(**MODERN, norm_bias=True, attention_bias=True, mlp_bias=True,
                         local_rope_theta=None)),
    "opt": (tf.OPTForCausalLM, tf.OPTConfig(**OPT)),
    "opt-post-norm": (tf.OPTForCausalLM, tf.OPTConfig(**OPT, do_layer_norm_before=False, enable_bias=False,
                      activation_function="gelu", tie_word_embeddings=False)),
    "gpt-neox": (tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig(**SMALL, intermediate_size=24, rotary_pct=0.5, rotary_emb_base=100)),
    "gpt-neox-sequential": (tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig(**SMALL, intermediate_size=24, rotary_pct=1.0,
                            use_parallel_residual=False, attention_bias=False, tie_word_embeddings=True)),
}
# Kinds of decoders of texts.
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "phi3", "phi", "gemma", "gemma2", "gemma3_text", "opt", "gpt_neox")


def inputs(config):
    ids = lambda *shape: torch.randint(3, 23, shape)
    kind = config.model_type
    if kind in DECODERS:
        return dict(input_ids=ids(2, 11))
    if kind == "audio-spectrogram-transformer":
        return dict(input_values=torch.randn(2, config.max_length, config.num_mel_bins))
    if kind == "clip_text_model":
        given = ids(2, 9)
        # The token that is read: of eos_token_id, or, if that is 2, of the highest id. One text has another after it.
        given[0, 5], given[1, 8], given[0, 7] = (20, 20, 20) if config.eos_token_id == 20 else (22, 22, 22)
        return dict(input_ids=given)
    if kind == "siglip_text_model":
        given = ids(2, 12)
        given[0, 7:], given[1, 10:] = 1, 1  # padding, to which tokens attend
        return dict(input_ids=given)
    if kind == "modernbert":
        return dict(input_ids=ids(2, 11), attention_mask=torch.tensor([[1] * 11, [1] * 7 + [0] * 4]))
    if kind in ("bert", "roberta", "xlm-roberta", "distilbert"):
        mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
        given = dict(input_ids=ids(2, 9), attention_mask=mask)
        if kind != "distilbert":
            given["token_type_ids"] = torch.randint(0, config.type_vocab_size, (2, 9))
        return given
    if kind in ("t5", "mt5"):
        mask = torch.tensor([[1] * 15, [1] * 7 + [0] * 8])
        if not config.is_encoder_decoder:
            return dict(input_ids=ids(2, 15), attention_mask=mask)
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
            if config.model_type.startswith("gemma"):
                parameter.copy_(parameter.bfloat16())  # as published: 1 added to a norm's weight and subtracted changes no bit
        given = inputs(config)
        said = model(**given)
    # One in several files, and one as PyTorch pickles it.
    model.save_pretrained(folder, max_shard_size="12KB" if name == "llama-tied" else "1GB")
    if name == "gpt2-unscaled":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    io = {f"in.{key}": value for key, value in given.items()}
    vectors = ("image_embeds", "text_embeds", "pooler_output") if config.model_type.startswith(("clip", "siglip")) else ()
    for key in vectors + ("logits", "last_hidden_state", "encoder_last_hidden_state", "action_preds", "return_preds", "state_preds"):
        # The last state of CLIP's images is that before the norm.
        if config.model_type == "clip_vision_model" and key == "last_hidden_state":
            continue
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
