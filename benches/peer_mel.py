"""Measure Whisper's log-mel spectrogram (80 bands) of a 30 s clip in librosa and transformers.

    python peer_mel.py [--threads 2] [--seconds 5]

The clip is noise at 16 kHz, already decoded; --threads limits the thread pools of numpy and torch. Prints the median and the
best time of each in ms. Needs librosa, transformers and torch. smalti's side is `smalti bench tokenizers` (from the bytes of
a WAV file to slices), or `cargo bench -p smalti-audio` (the spectrogram alone).
"""

import argparse
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seconds", type=float, default=5, help="seconds of repetition for each")
args = parser.parse_args()
for pool in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
    os.environ[pool] = str(args.threads)

import librosa  # noqa: E402 the import sizes the thread pools
import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import WhisperFeatureExtractor  # noqa: E402

torch.set_num_threads(args.threads)
clip = (0.1 * np.random.default_rng(0).standard_normal(30 * 16_000)).astype(np.float32)
extractor = WhisperFeatureExtractor(feature_size=80)
bank = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80)


def of_librosa():
    spectrum = np.abs(librosa.stft(clip, n_fft=400, hop_length=160, pad_mode="reflect")[:, :-1]) ** 2
    log = np.log10(np.maximum(bank @ spectrum, 1e-10))
    return (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0


def of_transformers():
    return extractor(clip, sampling_rate=16_000, return_tensors="np").input_features[0]


off = np.abs(of_librosa() - of_transformers()).max()
assert off < 1e-3, f"they differ by {off}"
for name, extract in [("librosa", of_librosa), ("transformers", of_transformers)]:
    times, begun = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begun < args.seconds:
        started = time.perf_counter()
        extract()
        times.append(time.perf_counter() - started)
    times = sorted(1e3 * t for t in times)
    median, best = times[len(times) // 2], times[0]
    print(f"{name} log-mel of 30 s: {median:.2f} ms, at best {best:.2f}, {args.threads} threads", flush=True)
