"""The PyTorch side of `smalti bench inference`: transformers' generate with its cache, at text-char's size, batch 1.

    python torch_generate.py [--tokens 200] [--repeats 5]

Prints tokens/s of the median. Needs torch and transformers (measured with 2.11.0 and 5.23.0).
"""

import argparse
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

parser = argparse.ArgumentParser()
parser.add_argument("--tokens", type=int, default=200)
parser.add_argument("--repeats", type=int, default=5)
args = parser.parse_args()

torch.manual_seed(0)
config = GPT2Config(vocab_size=65, n_positions=256, n_embd=384, n_layer=6, n_head=6, bos_token_id=0, eos_token_id=None)
model = GPT2LMHeadModel(config).eval()
prompt = torch.tensor([[1, 2, 3, 4, 5]])
seconds = []
for repeat in range(args.repeats + 1):
    started = time.perf_counter()
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=args.tokens,
        min_new_tokens=args.tokens,
        do_sample=False,
        use_cache=True,
        pad_token_id=0,
    )
    assert out.shape[1] == prompt.shape[1] + args.tokens
    if repeat:
        seconds.append(time.perf_counter() - started)
median = sorted(seconds)[len(seconds) // 2]
print(f"transformers generate cpu f32 {args.tokens / median:10.0f} tokens/s", flush=True)
