"""Compare JPEG to patches with torchvision's v2 pipeline on CPU tensors and with smalti (`smalti bench tokenizers`).

    pip install torch torchvision            # CPU wheels
    cargo build --release
    python benches/peer_jpeg.py [--smalti target/release/smalti] [--seconds 5] [--rounds 3]

The file is one JPEG of 500x375 pixels, quality 90, in memory, of the same waves that `smalti bench tokenizers` makes. For
each image: decode_jpeg to a uint8 tensor; v2.Resize(256, antialias) of the shorter side, bilinear; v2.CenterCrop(224);
to float32 in 0..=1; v2.Normalize; cut into 196 patches of 16x16, each flattened by row, column and channel.

Rates are images per second: with one thread; with two torch threads inside each operation; and with two workers, processes of
one thread each that share the images, like a DataLoader with two workers. smalti is compared with the best of these.
"""

import argparse
import json
import multiprocessing
import subprocess
import time

import torch
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg
from torchvision.transforms import v2

MEAN, STD, PATCH = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 16


def jpeg():
    """The waves of `standard_inputs`, as a JPEG file in a uint8 tensor."""
    y, x, c = (torch.arange(n, dtype=torch.float32) for n in (375, 500, 3))
    y, x, c = y[None, :, None], x[None, None, :], c[:, None, None]
    waves = 127 + 60 * (x * 0.05 + c).sin() + 40 * (y * 0.21).cos() + 20 * ((x + y) * 0.9).sin()
    return encode_jpeg(waves.clamp(0, 255).to(torch.uint8), quality=90)


PIPELINE = v2.Compose([
    v2.Resize(256, interpolation=v2.InterpolationMode.BILINEAR, antialias=True),
    v2.CenterCrop(224),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(MEAN, STD),
])


def patches(file):
    image = PIPELINE(decode_jpeg(file, mode=ImageReadMode.RGB))  # [3, 224, 224]
    n = 224 // PATCH
    grid = image.reshape(3, n, PATCH, n, PATCH).permute(1, 3, 2, 4, 0)  # [rows, columns, PATCH, PATCH, 3]
    return grid.reshape(n * n, PATCH * PATCH * 3).contiguous()


def images_per_second(threads, seconds):
    torch.set_num_threads(threads)
    file = jpeg()
    assert patches(file).shape == (196, 768)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        patches(file)
        count += 1
    return count / (time.perf_counter() - begun)


def worker(seconds, ready, start, results):
    torch.set_num_threads(1)
    patches(jpeg())
    ready.release()
    start.wait()
    results.put(images_per_second(1, seconds))


def two_workers(seconds):
    context = multiprocessing.get_context("spawn")
    ready, start, results = context.Semaphore(0), context.Event(), context.Queue()
    workers = [context.Process(target=worker, args=(seconds, ready, start, results)) for _ in range(2)]
    for process in workers:
        process.start()
    for _ in workers:
        ready.acquire()
    start.set()
    rates = [results.get() for _ in workers]
    for process in workers:
        process.join()
    return sum(rates)


def smalti(program):
    rows = json.loads(subprocess.check_output([program, "bench", "tokenizers", "--json"]))["tokenizers"]
    return {row["threads"]: row["inputs_per_s"] for row in rows if row["what"].startswith("JPEG")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smalti", help="the program to compare with")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for _ in range(args.rounds):  # in turn, so that other load affects both sides
        peer = {
            "one thread": images_per_second(1, args.seconds),
            "two threads": images_per_second(2, args.seconds),
            "two workers": two_workers(args.seconds),
        }
        print("torchvision: " + ", ".join(f"{rate:.0f}/s with {how}" for how, rate in peer.items()), flush=True)
        if args.smalti:
            ours = smalti(args.smalti)
            best = max(peer.values())
            print("smalti:      " + ", ".join(f"{rate:.0f}/s on {n} threads" for n, rate in ours.items()))
            print(f"             {ours[2] / best:.2f} times torchvision's best, on two cores each", flush=True)


if __name__ == "__main__":
    main()
