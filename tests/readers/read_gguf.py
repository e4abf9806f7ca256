"""Read what `smalti export --format gguf` writes with the Python package of llama.cpp, and compare with the export for
transformers.

    python read_gguf.py SMALTI

Needs gguf, which brings numpy.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy

SMALTI = str(Path(sys.argv[1]).resolve())
GUIDE = (Path(__file__).parent / "../../src/guide/export.md").read_text()


def smalti(*words):
    subprocess.run([SMALTI, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def weights(path):
    """The tensors of a safetensors file in f32."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    at = lambda of: data[8 + n + of["data_offsets"][0]:8 + n + of["data_offsets"][1]]
    return {name: numpy.frombuffer(at(of), dtype="<f4").reshape(of["shape"]) for name, of in header.items()}


def half_pairs(rows, heads):
    """Rows of pairs (2i, 2i + 1) as pairs (i, i + half)."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def check(place, kind):
    task, run, export, file = place / f"{kind}.toml", place / kind, place / f"{kind}-out", place / f"{kind}.gguf"
    task.write_text(re.search(rf"```toml\n# {kind}\n(.*?)```", GUIDE, re.DOTALL)[1])
    smalti("train", task, "--set", "train.max_steps=1", "--set", "train.batch_size=2", "--set", "train.eval_samples=2", "--out", run)
    smalti("export", run, "--out", export)
    smalti("export", run, "--format", "gguf", "--out", file)
    ours, reader = weights(export / "model.safetensors"), gguf.GGUFReader(file)
    theirs = {tensor.name: tensor.data for tensor in reader.tensors}
    read = lambda key: reader.fields[key].contents()
    assert read("general.architecture") == kind
    config = json.loads((export / "config.json").read_text())
    vocabulary = json.loads((export / "tokenizer.json").read_text())["model"]["vocab"]
    names = read("tokenizer.ggml.tokens")
    assert len(names) == config["vocab_size"] and all(names[id] == token for token, id in vocabulary.items())
    if kind == "llama":
        pairs = [(f"model.layers.0.self_attn.{a}_proj.weight", f"blk.0.attn_{a}.weight", config[heads])
                 for a, heads in [("q", "num_attention_heads"), ("k", "num_key_value_heads")]]
        for name, other, heads in pairs:
            assert numpy.array_equal(half_pairs(theirs[other], heads), ours[name]), name
        same = {"model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight", "lm_head.weight": "output.weight"}
    else:
        assert numpy.array_equal(theirs["blk.0.attn_qkv.weight"], ours["transformer.h.0.attn.c_attn.weight"].T)
        same = {"transformer.wpe.weight": "position_embd.weight", "transformer.ln_f.bias": "output_norm.bias"}
    for name, other in same.items():
        assert numpy.array_equal(theirs[other], ours[name]), name
    architecture = {"llama": gguf.MODEL_ARCH.LLAMA, "gpt2": gguf.MODEL_ARCH.GPT2}[kind]
    known = gguf.get_tensor_name_map(architecture, 2)
    for name in theirs:
        base, _, end = name.rpartition(".")
        assert known.get_name(base) == base and end in ("weight", "bias"), name
    print(f"{kind}: {len(theirs)} tensors, {len(names)} tokens", flush=True)


with tempfile.TemporaryDirectory() as temporary:
    for kind in ["gpt2", "llama"]:
        check(Path(temporary), kind)
