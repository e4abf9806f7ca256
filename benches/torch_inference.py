"""Measure the PyTorch side of `smalti bench inference`: f32 on the processor.

    python torch_inference.py

Prints the same rates as `smalti bench inference`: tokens/s of transformers' generate with its cache at text-char's size,
batch 1; images/s of image-tiny's encoder in batches of 128; actions/s of trajectory's decoder, batch 1. Medians.
Needs torch and transformers (measured with 2.11.0 and 5.23.0).
"""

import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel


def median_seconds(repeats, f):
    f()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[len(seconds) // 2]


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.inner, self.outer = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x, causal):
        b, t, d = x.shape
        q, k, v = (z.view(b, t, self.heads, d // self.heads).transpose(1, 2) for z in self.qkv(self.norm1(x)).split(d, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.outer(F.gelu(self.inner(self.norm2(x))))


class Stack(nn.Module):
    """Features to outputs at one token. The last block computes all tokens, as PyTorch's users write it; smalti computes only
    the tokens that a head reads: image-tiny's class token, trajectory's states."""

    def __init__(self, layers, heads, d, features, tokens, outputs, causal):
        super().__init__()
        self.embed, self.head, self.norm = nn.Linear(features, d), nn.Linear(d, outputs), nn.LayerNorm(d)
        self.position = nn.Parameter(torch.randn(1, tokens, d) * 0.02)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.causal = causal

    def forward(self, x):
        x = self.embed(x) + self.position
        for block in self.blocks:
            x = block(x, self.causal)
        return self.head(self.norm(x[:, -2]))


torch.manual_seed(0)
TOKENS = 200
config = GPT2Config(vocab_size=65, n_positions=256, n_embd=384, n_layer=6, n_head=6, bos_token_id=0, eos_token_id=None)
gpt = GPT2LMHeadModel(config).eval()
prompt = torch.tensor([[1]])
generate = lambda: gpt.generate(
    prompt,
    attention_mask=torch.ones_like(prompt),
    max_new_tokens=TOKENS,
    min_new_tokens=TOKENS,
    do_sample=False,
    use_cache=True,
    pad_token_id=0,
)
assert generate().shape[1] == 1 + TOKENS
print(f"torch generate text-char {TOKENS / median_seconds(5, generate):8.0f} tokens/s", flush=True)
with torch.inference_mode():
    vit = Stack(6, 3, 192, 48, 65, 10, causal=False).eval()
    images = torch.randn(128, 65, 48)
    print(f"torch predict image-tiny {128 / median_seconds(10, lambda: vit(images)):8.0f} images/s", flush=True)
    policy = Stack(3, 1, 128, 11, 60, 3, causal=True).eval()
    window = torch.randn(1, 60, 11)
    print(f"torch predict trajectory {1 / median_seconds(300, lambda: policy(window)):8.0f} actions/s", flush=True)
