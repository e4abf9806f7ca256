"""Makes the checkpoint `whisper-decoding`, of Whisper's layout with random weights and its own languages, tasks and times,
and what transformers' `generate` writes of made-up sounds: with that checkpoint, and with another.

    python whisper_decoding.py OUT [CHECKPOINT]     wants torch and transformers (made with 2.11.0 and 5.24.0)

OUT/whisper-decoding is the checkpoint, with `decoding.json`; of CHECKPOINT, a folder with a Whisper that reads windows of
a second and has 107 ids, OUT/whisper-decoding/golden.json.
"""
import json
import sys
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import save_file

BANDS = 8
# 30 words, the end, the start, languages, tasks, and times of 0 to 1 s.
IDS = dict(eos_token_id=30, pad_token_id=30, bos_token_id=30, decoder_start_token_id=31,
           lang_to_id={"<|en|>": 32, "<|de|>": 33, "<|fr|>": 34}, task_to_id={"translate": 36, "transcribe": 37},
           prev_sot_token_id=38, no_timestamps_token_id=41, is_multilingual=True, max_initial_timestamp_index=20,
           max_length=40, return_timestamps=False, suppress_tokens=[7, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40],
           begin_suppress_tokens=[30, 3])
TIMES = 51
TIME, END = 0.7, 0.55
CONFIG = dict(vocab_size=42 + TIMES, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
              decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=BANDS,
              max_source_positions=50, max_target_positions=40, pad_token_id=30, bos_token_id=30, eos_token_id=30,
              decoder_start_token_id=31, suppress_tokens=None, begin_suppress_tokens=None)
# The same for a model of 107 ids: 46 words, and no more than 32 places.
OTHER = dict(IDS, eos_token_id=46, pad_token_id=46, bos_token_id=46, decoder_start_token_id=0,
             lang_to_id={"<|en|>": 47, "<|de|>": 48, "<|fr|>": 49}, task_to_id={"translate": 51, "transcribe": 52},
             prev_sot_token_id=53, no_timestamps_token_id=55, max_length=32,
             suppress_tokens=[7, 0, 47, 48, 49, 50, 51, 52, 53, 54], begin_suppress_tokens=[46, 3])


# And without times: weights that know nothing of them write pairs at 0, which `generate` would hear again for ever.
TIMELESS = {key: value for key, value in OTHER.items() if key not in ("no_timestamps_token_id", "prev_sot_token_id")}
TIMELESS["suppress_tokens"] = OTHER["suppress_tokens"] + list(range(55, 107))


def sound(samples, seed):
    """Notes of 50 ms with noise, in whole numbers so that any program makes the same."""
    state, notes, out = seed, [], []
    for i in range(samples):
        if i % 800 == 0:
            state = (state * 1103515245 + 12345) % 2**31
            period, loudness = 8 + (state >> 16) % 120, 1 + (state >> 8) % 16
        state = (state * 1103515245 + 12345) % 2**31
        wave = abs(i % period * 2 - period) * 2 - period
        out.append((wave * loudness * 12 + ((state >> 16) % 256 - 128) * 2) / 32768)
    return torch.tensor(out, dtype=torch.float32).numpy()


def case(name, samples=16000, seed=1, **options):
    return dict(name=name, samples=samples, seed=seed, options=options)


LONG = 52_800
CASES = [
    case("plain", language="en"),
    case("another sound", seed=2, language="de", task="translate"),
    case("a short clip", samples=9_000, seed=3, language="fr", task="transcribe"),
    case("the language is heard", seed=4),
    case("the language is heard, the task said", seed=5, task="translate"),
    case("times", language="en", return_timestamps=True),
    case("times of another sound", seed=6, language="de", return_timestamps=True),
    case("two beams", language="en", num_beams=2),
    case("five beams", seed=2, language="en", num_beams=5),
    case("two beams with times", seed=3, language="en", num_beams=2, return_timestamps=True),
    case("five beams with times", language="en", num_beams=5, return_timestamps=True),
    case("long", samples=LONG, seed=7, language="en", return_timestamps=True),
    case("long, the language is heard", samples=LONG, seed=8, return_timestamps=True),
    case("long, with what was before", samples=LONG, seed=7, language="en", return_timestamps=True,
         condition_on_prev_tokens=True),
    case("long, with what was before, another", samples=LONG, seed=9, language="de", return_timestamps=True,
         condition_on_prev_tokens=True),
    case("long, two beams", samples=LONG, seed=10, language="en", return_timestamps=True, num_beams=2),
    case("long, five beams, with what was before", samples=LONG, seed=11, language="en", return_timestamps=True,
         num_beams=5, condition_on_prev_tokens=True),
    case("likely enough", language="en", logprob_threshold=-9.0, compression_ratio_threshold=9.0),
    case("not likely enough", language="en", logprob_threshold=-0.05),
    case("too much alike", language="en", compression_ratio_threshold=0.5, logprob_threshold=-9.0),
    case("nothing said", samples=LONG, seed=12, language="en", return_timestamps=True, logprob_threshold=-0.05,
         no_speech_threshold=0.0),
    case("something said", samples=LONG, seed=12, language="en", return_timestamps=True, logprob_threshold=-9.0,
         no_speech_threshold=0.0),
]


def write_down(model, extractor, given):
    """What `generate` says, and of each window what speaks for its text."""
    windows, need = [], model._need_fallback

    def noted(sequence, outputs, index, processors, settings, vocabulary, temperature):
        fallback, skip = need(sequence, outputs, index, processors, settings, vocabulary, temperature)
        note = dict(ids=sequence.tolist(), fallback=bool(fallback), skip=bool(skip),
                    compression_ratio=model._retrieve_compression_ratio(sequence, vocabulary))
        if settings.logprob_threshold is not None:
            scores = outputs[index]["scores"]
            note["avg_logprob"] = float(model._retrieve_avg_logprobs(scores, sequence, temperature))
        if settings.no_speech_threshold is not None:
            silence = next(p for p in processors if hasattr(p, "no_speech_prob"))
            note["no_speech_prob"] = float(silence.no_speech_prob[index])
        windows.append(note)
        return fallback, skip

    model._need_fallback = noted
    try:
        wave = sound(given["samples"], given["seed"])
        long = len(wave) > 16_000
        features = extractor(wave, sampling_rate=16_000, return_tensors="pt", truncation=not long,
                             padding="longest" if long else "max_length").input_features
        heard = int(model.detect_language(features, num_segment_frames=100)[0])
        said = model.generate(features, return_segments=True, temperature=(0.0,), **given["options"])
    finally:
        del model._need_fallback
    segments = [dict(start=float(s["start"]), end=float(s["end"]), ids=s["tokens"].tolist()) for s in said["segments"][0]]
    if "num_beams" in given["options"]:
        windows = [{key: value for key, value in w.items() if key != "ids"} for w in windows]
    return dict(given, heard=heard, windows=windows, segments=segments)


def references(model, generation, cases):
    model.generation_config = tf.GenerationConfig(**generation)
    extractor = tf.WhisperFeatureExtractor(feature_size=model.config.num_mel_bins, chunk_length=1)
    with torch.no_grad():
        return dict(generation_config=generation, cases=[write_down(model, extractor, given) for given in cases])


def write(path, references):
    path.write_text(json.dumps(references).replace('{"name"', '\n{"name"') + "\n")
    for said in [said for one in references for said in one["cases"]]:
        print(said["name"], said["options"], *said["segments"], *said["windows"], sep="\n    ")


def checkpoint():
    """Random weights in sizes with which texts vary: sounds and places count for more than the last id."""
    torch.manual_seed(7)
    model = tf.WhisperForConditionalGeneration(tf.WhisperConfig(**CONFIG)).eval()
    decoder = model.model.decoder
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((0.05 if name.endswith("bias") else 0.3) * torch.randn_like(parameter))
        decoder.embed_positions.weight.normal_(0, 1.5)
        for layer in decoder.layers:
            layer.encoder_attn.out_proj.weight.mul_(2)
            layer.self_attn.out_proj.weight.mul_(2)
        # Words are alike on the whole, each time is less likely, all together they are not.
        common = torch.nn.functional.normalize(torch.randn(CONFIG["d_model"]), dim=0)
        decoder.layer_norm.bias.copy_(2 * common)
        table = decoder.embed_tokens.weight
        table.sub_(torch.outer(table @ common, common))
        table[42:].sub_(TIME * common)
        table[30].add_(END * common)
    return model


torch.set_num_threads(1)
folder = Path(sys.argv[1]) / "whisper-decoding"
folder.mkdir(parents=True, exist_ok=True)
model = checkpoint()
model.save_pretrained(folder)
(folder / "generation_config.json").write_text(json.dumps(IDS, indent=2) + "\n")
torch.manual_seed(1)
given = dict(input_features=torch.randn(2, BANDS, 100), decoder_input_ids=torch.randint(0, 93, (2, 6)))
with torch.no_grad():
    said = model(**given)
io = {f"in.{key}": value for key, value in given.items()}
io |= {f"out.{key}": said[key].contiguous() for key in ("logits", "encoder_last_hidden_state")}
save_file(io, folder / "io.safetensors")
write(folder / "decoding.json", [references(model, IDS, CASES)])
if len(sys.argv) > 2:
    other = tf.WhisperForConditionalGeneration.from_pretrained(sys.argv[2]).eval()
    timed = [given for given in CASES if "return_timestamps" in given["options"]]
    timeless = [given for given in CASES if "return_timestamps" not in given["options"]]
    write(folder / "golden.json", [references(other, OTHER, timed), references(other, TIMELESS, timeless)])
