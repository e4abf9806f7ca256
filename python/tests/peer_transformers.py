"""Compare with the processors of transformers, which need torch; not a part of CI.

    pip install torch transformers pillow
    python python/tests/peer_transformers.py

ViT's and CLIP's image processors on noise of awkward sizes, Whisper's log-mel, and a fitted BPE in `tokenizers`. Prints the
largest difference of each; fails above one pixel value, or 1e-4 of a logarithm.
"""

import json

import numpy as np
import smalti
import tokenizers
from PIL import Image
from transformers import CLIPImageProcessor, ViTImageProcessor, WhisperFeatureExtractor

RANDOM = np.random.default_rng(0)


def planes(tokens, size):
    """The planes [3, size, size] of tokens that are pixels."""
    return tokens.features.T.reshape(3, size, size)


def images():
    pairs = [
        ("ViT", ViTImageProcessor(), smalti.Tokenizer("image", preset="vit", patch_size=1)),
        ("CLIP", CLIPImageProcessor(), smalti.Tokenizer("image", preset="clip", patch_size=1)),
    ]
    for name, processor, tokenizer in pairs:
        worst = 0.0
        for height, width in [(300, 400), (224, 224), (231, 517), (90, 61)]:
            image = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
            expected = processor(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
            std = np.array(tokenizer.config["std"])[:, None, None]
            worst = max(worst, (abs(planes(tokenizer.encode(image), 224) - expected) * std * 255).max())
        print(f"{name}: {worst:.4f} pixel values")
        assert worst < 1.01, name


def log_mel():
    for bands, preset in [(80, "whisper"), (128, "whisper128")]:
        extractor, tokenizer = WhisperFeatureExtractor(feature_size=bands), smalti.Tokenizer("audio", preset=preset)
        worst = 0.0
        for seconds in (0.3, 5, 31):
            clip = (0.1 * RANDOM.standard_normal(int(seconds * 16_000))).astype(np.float32)
            expected = extractor(clip, sampling_rate=16_000, return_tensors="np")["input_features"][0]
            worst = max(worst, abs(tokenizer.encode(clip, sampling_rate=16_000).features.T - expected).max())
        print(f"Whisper, {bands} bands: {worst:.1e}")
        assert worst < 1e-4, preset


def subwords():
    text = "naïve café 東京 — the cat and the hat, 1,234 times…\n" * 50
    ours = smalti.Tokenizer("text", [text], vocabulary={"bpe": 300}, context=1 << 16)
    vocabulary = ours.config["vocabulary"]
    theirs = tokenizers.Tokenizer.from_str(json.dumps(vocabulary.get("subwords", vocabulary)["tokenizer"]))
    assert ours.encode(text).ids.tolist() == theirs.encode(text).ids
    print("BPE: equal ids")


if __name__ == "__main__":
    images()
    log_mel()
    subwords()
