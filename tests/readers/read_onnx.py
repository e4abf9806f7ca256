"""Run what `smalti export --format onnx` writes with onnxruntime, on the tokens that smalti makes, and compare outputs.

    python read_onnx.py SMALTI

Needs onnxruntime and numpy. Every run is tiny and trained for three steps. Every row of its data is the same, so that the tokens
of a training sample, which `smalti tokenize` shows, are those of a prediction.
"""

import json
import subprocess
import sys
import tempfile
import wave
import zlib
from pathlib import Path

import numpy
import onnxruntime

SMALTI = str(Path(sys.argv[1]).resolve())
TOLERANCE = 1e-4
TEXT = "the quick brown fox jumps over the lazy dog"
SHORT = ["train.max_steps=3", "train.batch_size=2", "train.eval_samples=2", "train.warmup_steps=1", "train.learning_rate=0.02",
         "train.min_learning_rate=0.02"]


def smalti(*words):
    result = subprocess.run([SMALTI, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0, f"smalti {' '.join(map(str, words))}\n{result.stderr}"
    return result.stdout


def trained(place, toml, *more):
    """A run of a task, and its ONNX session."""
    (place / "task.toml").write_text(toml)
    sets = [word for setting in (*SHORT, *more) for word in ("--set", setting)]
    run, file = place / "run", place / "run.onnx"
    smalti("train", place / "task.toml", *sets, "--out", run)
    smalti("export", run, "--format", "onnx", "--out", file)
    return run, onnxruntime.InferenceSession(str(file))


def tokens(run, kind):
    """The content of the tokens of one kind of a sample: ids, or features."""
    found = json.loads(smalti("tokenize", run, "--first", 100000, "--json"))
    found = [token for stream in found["tasks"][0]["streams"] for token in stream["first"] if token["kind"] == kind]
    assert found, f"no token of kind {kind}"
    if "features" in found[0]:
        return numpy.array([token["features"] for token in found], dtype=numpy.float32)
    return numpy.array([token["id"] for token in found], dtype=numpy.int64)


def probabilities(run, session, *row):
    """Those of one predicted row, in the order of the classes that the file names."""
    classes = json.loads(session.get_modelmeta().custom_metadata_map["outputs.class"])["classes"]
    found = json.loads(smalti("classify", run, *row, "--top", 99, "--json"))["rows"][0]["classes"]
    return numpy.array([next(of["probability"] for of in found if of["class"] == name) for name in classes])


def softmax(logits):
    weights = numpy.exp(logits - logits.max())
    return weights / weights.sum()


def close(what, found, expected):
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    worst = numpy.abs(found - expected).max()
    assert worst <= TOLERANCE, f"{what}: off by {worst:.2e}"
    print(f"{what}: off by {worst:.1e}", flush=True)


def png(path, side):
    """An RGB image of noise."""
    pixels = numpy.random.default_rng(3).integers(0, 256, (side, side, 3), dtype=numpy.uint8)
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def table(place, value):
    """A table in which every row has this text or the path of this file, and one of two labels and a number."""
    column = "path" if isinstance(value, Path) else "value"
    value = value.name if isinstance(value, Path) else value
    rows = "".join(f"{value},{'ab'[i % 2]},{i % 5}\n" for i in range(24))
    (place / "rows.csv").write_text(f"{column},label,score\n{rows}")
    return f'[data]\nsource = "{place / "rows.csv"}"\n'


def classified(place, what, kind, data, task, *row):
    """The probabilities of a class."""
    run, session = trained(place, data + task)
    logits, = session.run(["class"], {session.get_inputs()[0].name: tokens(run, kind)})
    close(what, softmax(logits[0]), probabilities(run, session, *row))


IMAGE = """
[inputs.image]
modality = "image"
field = "path"
image_size = [16, 16]
patch_size = 4
[outputs.class]
head = "classify"
field = "label"
register_tokens = 2
%s
[model]
d_model = 32
n_layers = 2
layer_scale = 0.5
[model.embedding]
positions = "%s"
"""
TEXTS = """
[inputs.text]
modality = "text"
field = "value"
vocabulary = "bytes"
context = 64
%s
[outputs.%s]
%s
[model]
d_model = 32
n_layers = 2
%s
"""
BERT = """norm_placement = "post"
[model.embedding]
norm = true
offset = true
"""
LLAMA = """norm = "rms"
bias = false
[model.attention]
n_kv_heads = 2
qk_norm = true
soft_cap = 20.0
rules = [{ query = "text.*", key = "text.*", rule = "causal" }]
[model.attention.rotary]
width = 4
[model.mlp]
gated = true
activation = "silu"
[model.embedding]
positions = "none"
"""
BOTH = """norm_placement = "both"
"""
PARALLEL = """sublayers = "parallel"
[model.mlp]
activation = "gelu_tanh"
"""
AUDIO = """
[inputs.audio]
modality = "audio"
field = "path"
sampling_rate = 8000
frames_per_slice = 4
[inputs.audio.mel]
n_fft = 256
hop_length = 80
n_mels = 16
[outputs.class]
head = "classify"
field = "label"
pool = "mean"
[model]
d_model = 32
n_layers = 1
[model.mlp]
activation = "quick_gelu"
"""
STORY = """
[outputs.text]
head = "generate"
modality = "text"
windows = true
vocabulary = "bytes"
context = 64
[model]
d_model = 32
n_layers = 2
[model.head]
tie_embeddings = %s
"""


def images(place):
    png(place / "one.png", 16)
    for name, settings, positions in [("grid", "class_token_position = true", "grid"), ("axes", 'pool = "class_token_and_mean"', "learned")]:
        (place / name).mkdir()
        task = IMAGE % (settings, positions)
        classified(place / name, f"images, {name}", "image.patch", table(place, place / "one.png"), task, place / "one.png")


def texts(place):
    head = 'head = "classify"\nfield = "label"\n'
    cases = [
        ("post-norm", "segments = 2", 'pool = "first"\nhidden = "tanh"', BERT),
        ("causal, rotary, grouped, gated", "", 'pool = "last"', LLAMA),
        ("norms before and after", "", "", BOTH),
        ("parallel", "", "", PARALLEL),
    ]
    for number, (what, segments, settings, model) in enumerate(cases):
        at = place / str(number)
        at.mkdir()
        task = TEXTS % (segments, "class", head + settings, model)
        classified(at, f"texts, {what}", "text.byte", table(place, TEXT), task, "--text", TEXT)


def vectors(place):
    # A run needs an output that it trains.
    task = TEXTS % ("", "embedding", 'head = "represent"\nnormalize = true\n[outputs.score]\nhead = "regress"', "")
    run, session = trained(place, table(place, TEXT) + task)
    vector, score = session.run(["embedding", "score"], {"text": tokens(run, "text.byte")})
    found = json.loads(smalti("embed", run, "--text", TEXT, "--json"))["vectors"][0]["vector"]
    close("a vector", vector[0], numpy.array(found))
    found = json.loads(smalti("predict", run, "--row", f"value={TEXT}", "--json"))["rows"][0]["score"]["value"]
    close("a number", score[0], numpy.array([found]))


def clips(place):
    path = place / "clip.wav"
    tone = numpy.sin(numpy.arange(4000) * 0.2) + 0.1 * numpy.random.default_rng(2).standard_normal(4000)
    with wave.open(str(path), "wb") as clip:
        clip.setnchannels(1), clip.setsampwidth(2), clip.setframerate(8000)
        clip.writeframes((8000 * tone).astype("<i2").tobytes())
    classified(place, "clips", "audio.slice", table(place, path), AUDIO, path)


def continued(place):
    """A greedy continuation, token by token."""
    text = place / "story.txt"
    text.write_text((TEXT + ". ") * 40)
    for tied in ["true", "false"]:
        at = place / tied
        at.mkdir()
        run, session = trained(at, f'[data]\nsource = "{text}"\n' + STORY % tied, "train.max_steps=40")
        ids = list(b"the quick")
        for _ in range(12):
            logits, = session.run(["text_logits"], {"text": numpy.array(ids, dtype=numpy.int64)})
            assert logits.shape == (len(ids), logits.shape[1])
            ids.append(int(logits[-1].argmax()))
        found = json.loads(smalti("generate", run, "--prompt", "the quick", "--max-new-tokens", 12, "--temperature", 0, "--json"))
        expected = bytes(id for id in ids if id < 256).decode(errors="replace")
        assert expected in ("the quick" + found["text"], found["text"]), (expected, found)
        print(f"a continuation, tied = {tied}: equal", flush=True)


with tempfile.TemporaryDirectory() as temporary:
    for check in [images, texts, vectors, clips, continued]:
        place = Path(temporary) / check.__name__
        place.mkdir()
        check(place)
