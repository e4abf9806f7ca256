"""Measure PyTorch's matrix products alone, at the shapes of a load: the bound of any implementation that uses them.

    python torch_products.py LOAD

For n tokens of width d: the maps d → 3·d (query, key, value), d → d, d → 4·d and 4·d → d, each forward (x·Wᵀ) and backward
(dy·W and dyᵀ·x), f32 on the processor, as often as in a training step. Prints FLOP over the sum of median times. Needs torch.
"""

import sys
import time

import torch

# tokens in a step, d_model
SHAPES = {
    "text-nano": (768, 128),
    "text-char": (1024, 384),
    "image-tiny": (8320, 192),
    "trajectory": (3840, 128),
    "audio": (2784, 256),
}


def median_seconds(f, repeats=15):
    f()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[repeats // 2]


load = sys.argv[1]
n, d = SHAPES[load]
flop, seconds = 0, 0
# PyTorch's side has one map of 3·d for query, key and value, and one of d for the output; then the MLP's.
for k, m in [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]:
    x, w, dy = torch.randn(n, k), torch.randn(m, k), torch.randn(n, m)
    for product in (lambda: x @ w.t(), lambda: dy @ w, lambda: dy.t() @ x):
        seconds += median_seconds(product)
        flop += 2 * n * k * m
print(f"torch products {load} {flop / seconds / 1e9:.0f} GFLOP/s", flush=True)
