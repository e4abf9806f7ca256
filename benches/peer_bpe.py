"""Measure the speed of `tokenizers` from Python, in its batch mode: a text to GPT-2's ids.

    pip install tokenizers
    python benches/peer_bpe.py encoder.json vocab.bpe text.txt

Ours on the same files: cargo run --release -p smalti-text --example bpe_speed -- encoder.json vocab.bpe text.txt
"""

import sys
import time

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ROUNDS = 9


def main():
    encoder, merges, path = sys.argv[1:]
    tokenizer = Tokenizer(models.BPE.from_file(encoder, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = open(path, encoding="utf-8", newline="").read()
    size = len(text.encode())
    lines = text.splitlines(keepends=True)
    # Parts of about 64 KiB keep both cores busy and cost less than one call per line.
    parts = [""]
    for line in lines:
        if len(parts[-1]) > 1 << 16:
            parts.append("")
        parts[-1] += line
    for what, batch in [("lines", lines), ("parts of 64 KiB", parts)]:
        for name in ["encode_batch", "encode_batch_fast"]:
            encode = getattr(tokenizer, name)
            seconds = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                encodings = encode(batch, add_special_tokens=False)
                seconds.append(time.perf_counter() - begun)
            ids = sum(len(e.ids) for e in encodings)
            best = min(seconds)
            print(f"{name} of {what}: {size} bytes to {ids} ids in {1e3 * best:.1f} ms, {size / 1e6 / best:.1f} MB/s")


if __name__ == "__main__":
    main()
