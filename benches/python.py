"""Compare the Python module with the program and with Hugging Face's libraries, in turn: JPEG to patches, log-mel, BPE.

    maturin build --release --manifest-path python/Cargo.toml     # and install the wheel
    RAYON_NUM_THREADS=2 python benches/python.py target/release/smalti [--rounds 5] [--seconds 1]

Needs pillow, tokenizers, torch and transformers. The inputs are those of `smalti bench tokenizers`: a JPEG of 500×375 pixels,
30 seconds of noise as WAV, 1 MiB of text for 4,096 subwords. Each number is the median over the rounds, in inputs a second:
of one call after another, and of a batch on two threads. Hugging Face's image processor gets a file that Pillow decodes, and
cuts no patches; its log-mel (NumPy) gets samples, as ours in the row "samples".
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import time

os.environ.setdefault("RAYON_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np  # noqa: E402
import smalti  # noqa: E402
import tokenizers  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import CLIPImageProcessor, WhisperFeatureExtractor  # noqa: E402

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def jpeg():
    y, x, c = np.mgrid[0:375, 0:500, 0:3].astype(np.float32)
    waves = 127 + 60 * np.sin(x * 0.05 + c) + 40 * np.cos(y * 0.21) + 20 * np.sin((x + y) * 0.9)
    file = io.BytesIO()
    Image.fromarray(waves.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def wav(samples):
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
    return file.getvalue()


def rate(call, inputs, seconds):
    """Inputs a second of a call that takes `inputs` of them."""
    begun, times = time.perf_counter(), []
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return inputs / statistics.median(times)


def cases():
    """For each row: the program's name of the input, ours, ours of a batch, theirs."""
    file, patches = jpeg(), smalti.Tokenizer("image", preset="imagenet")
    processor = CLIPImageProcessor(
        size={"shortest_edge": 256}, crop_size=224, resample=Image.BILINEAR, image_mean=MEAN, image_std=STD
    )
    open_image = lambda: processor(Image.open(io.BytesIO(file)).convert("RGB"), return_tensors="np")
    yield "JPEG", "JPEG", patches, file, {}, open_image

    samples = (0.1 * np.random.default_rng(0).standard_normal(30 * 16_000)).astype(np.float32)
    slices = smalti.Tokenizer("audio", normalize=False)
    extractor = WhisperFeatureExtractor(feature_size=80)
    log_mel = lambda: extractor(samples, sampling_rate=16_000, return_tensors="np")
    yield "WAV", "WAV", slices, wav(samples), {}, log_mel
    yield "WAV", "samples", slices, samples, {"sampling_rate": 16_000}, log_mel

    text = smalti.Table("builtin:text/smalti.txt")[0]
    text = next(value for value in text.values() if isinstance(value, (str, dict)))
    text = text if isinstance(text, str) else text["bytes"].decode()
    text = (text * (1 + (1 << 20) // len(text)))[: 1 << 20]
    subwords = smalti.Tokenizer("text", [text], vocabulary={"bpe": 4096}, context=1 << 20)
    published = subwords.config["vocabulary"]
    peer = tokenizers.Tokenizer.from_str(json.dumps(published.get("subwords", published)["tokenizer"]))
    assert peer.encode(text).ids == subwords.encode(text).ids.tolist()
    yield "BPE", "BPE of 1 MiB", subwords, text, {}, lambda: peer.encode_batch_fast([text], add_special_tokens=False)


def program(path):
    rows = json.loads(subprocess.check_output([path, "bench", "tokenizers", "--json"]))["tokenizers"]
    return {(name, row["threads"]): row["inputs_per_s"] for row in rows for name in ("JPEG", "WAV", "BPE") if name in row["what"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smalti")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    torch.set_num_threads(2)
    rows, measured = list(cases()), {}
    for _ in range(args.rounds):
        of_program = program(args.smalti)
        for name, label, tokenizer, value, options, peer in rows:
            one = rate(lambda: tokenizer.encode(value, **options), 1, args.seconds)
            batch = rate(lambda: tokenizer.encode_batch([value] * 8, **options), 8, args.seconds)
            theirs = rate(peer, 1, args.seconds)
            found = [of_program[name, 1], one, of_program[name, 2], batch, theirs]
            measured.setdefault(label, []).append(found)
    print("| input | program, 1 thread | Python | ratio | program, 2 threads | Python | ratio | Hugging Face | Python, 1 thread / it | 2 threads / it |")
    print("| --- |" + " --- |" * 9)
    for label, rounds in measured.items():
        program_1, one, program_2, batch, theirs = (statistics.median(column) for column in zip(*rounds))
        ratio = lambda a, b: statistics.median(row[a] / row[b] for row in rounds)
        print(
            f"| {label} | {program_1:.1f}/s | {one:.1f}/s | {ratio(1, 0):.2f} | {program_2:.1f}/s | {batch:.1f}/s | {ratio(3, 2):.2f} "
            f"| {theirs:.1f}/s | {ratio(1, 4):.2f} | {ratio(3, 4):.2f} |"
        )


if __name__ == "__main__":
    main()
