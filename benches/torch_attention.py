"""Measure PyTorch's attention on one long document, as `smalti bench attention` measures ours: one process for each line.

    python torch_attention.py LENGTH RULE [--repeats 3]

RULE is `sdpa` (scaled_dot_product_attention, causal), `flex` (flex_attention compiled, causal) or `flex-near` (the same with a
window of 64 tokens). 8 heads, each 64 wide, f32 on the processor. Prints the median milliseconds of the forward and of the
backward pass, and the peak memory. PyTorch 2.11 has no backward pass of flex_attention on a processor. Needs torch.
"""

import argparse
import resource
import statistics
import time

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("length", type=int)
parser.add_argument("rule", choices=["sdpa", "flex", "flex-near"])
parser.add_argument("--repeats", type=int, default=3)
args = parser.parse_args()

n, trains = args.length, args.rule == "sdpa"
query, key, value = (torch.randn(1, 8, n, 64, requires_grad=trains) for _ in range(3))
if args.rule == "sdpa":
    attend = lambda: scaled_dot_product_attention(query, key, value, is_causal=True)
else:
    near = args.rule == "flex-near"
    rule = (lambda b, h, q, k: (q >= k) & (q - k <= 64)) if near else (lambda b, h, q, k: q >= k)
    mask = create_block_mask(rule, None, None, n, n, device="cpu")
    compiled = torch.compile(flex_attention)
    attend = lambda: compiled(query, key, value, block_mask=mask)

forward, backward = [], []
for repeat in range(args.repeats + 1):
    started = time.perf_counter()
    with torch.set_grad_enabled(trains):
        attended = attend()
    forward.append(time.perf_counter() - started)
    if trains:
        loss = attended.square().mean()
        started = time.perf_counter()
        loss.backward()
        backward.append(time.perf_counter() - started)
        query.grad = key.grad = value.grad = None
milliseconds = lambda seconds: f"{1e3 * statistics.median(seconds[1:]):.1f} ms" if seconds else "–"
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{n} {args.rule}: forward {milliseconds(forward)}, backward {milliseconds(backward)}, {peak:.0f} MiB", flush=True)
