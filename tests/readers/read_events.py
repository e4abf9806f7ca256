"""Read the event files of `smalti train --tensorboard` with TensorBoard, the model card with huggingface_hub, and import the
metrics with examples/metrics_to_wandb.py and a module in place of wandb.

    python read_events.py SMALTI

Needs the packages huggingface_hub, pillow and tensorboard, of whose dependencies protobuf, numpy and absl-py are enough. Fails
with the first difference.
"""

import io
import json
import logging
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from huggingface_hub import ModelCard
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SMALTI = str(Path(sys.argv[1]).resolve())
EXAMPLE = Path(__file__).parents[2] / "examples" / "metrics_to_wandb.py"
EVERYTHING = {kind: 0 for kind in ("scalars", "images", "histograms", "compressedHistograms", "tensors")}
TINY = ("train.batch_size=4", "model.d_model=16", "model.n_layers=2", "model.attention.n_heads=2", "train.warmup_steps=1",
        "train.log_every=5", "train.eval_every=10", "train.eval_samples=8", 'train.freeze=["stack.blocks.0.*"]',
        "card.license=mit", "card.language=en", "card.authors=\"Ada: 'the' \\\"first\\\" # one\"")
logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it reports each restart


def smalti(*words, folder):
    result = subprocess.run([SMALTI, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0, f"smalti {' '.join(words)}\n{result.stderr}"


def interrupted(folder):
    """Trains to step 10 and on to step 20, loses all after step 10 but the events, and trains on again."""
    run = folder / "run"
    sets = [word for setting in TINY for word in ("--set", setting)]
    smalti("train", "image", *sets, "--set", "train.max_steps=10", "--out", "run", "--tensorboard", folder=folder)
    shutil.copytree(run, folder / "kept", ignore=shutil.ignore_patterns("tensorboard"))
    on = ("train", "--resume", "--out", "run", "--set", "train.max_steps=20", "--tensorboard")
    smalti(*on, folder=folder)
    for file in (folder / "kept").iterdir():
        shutil.copy(file, run)
    smalti(*on, folder=folder)
    return run


def single(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def events(run, lines):
    found = EventAccumulator(str(run / "tensorboard"), size_guidance=EVERYTHING)
    found.Reload()
    tags = found.Tags()
    expected = {}
    for line in lines:
        step = line["step"]
        names = ("loss", "learning_rate", "grad_norm", "tokens_per_s")
        values = {f"train/{name}": line[name] for name in names if name in line}
        values |= {f"train/{output}/loss": loss for output, loss in line.get("losses", {}).items()}
        for output, metrics in line.get("eval", {}).items():
            values |= {f"validation/{output}/{name}": value for name, value in metrics.items() if name != "samples"}
        for tag, value in values.items():
            expected.setdefault(tag, []).append((step, single(value)))
    assert set(tags["scalars"]) == set(expected), (tags["scalars"], set(expected))
    for tag, points in expected.items():
        points_found = [(event.step, single(event.value)) for event in found.Scalars(tag)]
        assert points_found == points, (tag, points_found, points)
    assert len(expected["train/class/loss"]) == 5 and len(expected["validation/class/accuracy"]) == 2, expected

    for figure in found.Images("attention_rules"):
        image = Image.open(io.BytesIO(figure.encoded_image_string))
        assert image.size == (figure.width, figure.height) and image.format == "PNG", figure
        image.load()
    weights = {tag.removeprefix("weights/") for tag in tags["histograms"] if tag.startswith("weights/")}
    gradients = {tag.removeprefix("gradients/") for tag in tags["histograms"] if tag.startswith("gradients/")}
    assert weights == gradients and len(weights) > 5, (weights, gradients)
    assert not any(name.startswith("stack.blocks.0.") for name in weights), "frozen parameters are left out"
    for tag in tags["histograms"]:
        steps = [event.step for event in found.Histograms(tag)]
        assert steps == [10, 20], (tag, steps)
        for event in found.Histograms(tag):
            histogram = event.histogram_value
            assert sum(histogram.bucket) == histogram.num > 0, (tag, histogram)
            assert histogram.bucket_limit[-1] == histogram.max >= histogram.min, (tag, histogram)


def card(run):
    card = ModelCard.load(run / "README.md")
    data = card.data
    assert (data.license, data.language, data.library_name) == ("mit", "en", "smalti"), data
    assert data.pipeline_tag == "image-classification" and data.tags == ["smalti", "image"], data
    results = {result.metric_type: result for result in data.eval_results}
    assert 0 <= results["accuracy"].metric_value <= 1 and results["accuracy"].dataset_name == "builtin:digits", results
    assert all(math.isfinite(result.metric_value) for result in results.values()), results
    assert "Authors: Ada: 'the' \"first\" # one" in card.text, card.text
    assert "`smalti" in card.text and str(run.parent) not in card.content, card.content


STUB = '''
import json

class Run:
    def log(self, values, step):
        print(json.dumps([step, values]))

    def finish(self):
        print(json.dumps("finished"))

def init(mode, project, name, config):
    assert mode == "offline", mode
    print(json.dumps([project, name, config["model"]["d_model"]]))
    return Run()
'''


def wandb(run, lines, folder):
    (folder / "stub").mkdir()
    (folder / "stub" / "wandb.py").write_text(STUB)
    command = [sys.executable, str(EXAMPLE), str(run), "--project", "tests"]
    printed = subprocess.run(command, env=dict(os.environ, PYTHONPATH=str(folder / "stub")), stdout=subprocess.PIPE, text=True,
                             check=True)
    first, *logged, last = map(json.loads, printed.stdout.splitlines())
    assert first == ["tests", "run", 16] and last == "finished", (first, last)
    # The last line tells why the training ended, and has no number but its step.
    assert [step for step, _ in logged] == [line["step"] for line in lines if "end" not in line]
    values = dict(pair for step, found in logged if step == 20 for pair in found.items())
    by_step = [line for line in lines if line["step"] == 20]
    assert values["losses/class"] == by_step[0]["losses"]["class"], values
    assert values["eval/class/accuracy"] == by_step[1]["eval"]["class"]["accuracy"], values


def main():
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        run = interrupted(folder)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        events(run, lines)
        card(run)
        wandb(run, lines, folder)
    print("events, model card and metrics are read")


main()
