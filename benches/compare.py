"""Compare smalti with PyTorch, in turn on one machine: tokens/s and peak memory of each training load, then inference.

    python benches/compare.py --smalti target/release/smalti --torch-train torch_train.py [--python PYTHON]
                              [--loads text-nano,…] [--modes eager,compile] [--precision f32] [--rounds 3] [--steps 20]

`torch_train.py LOAD --mode MODE --dtype PRECISION --steps N` is PyTorch's side of the loads and prints `… step MS ms TOKENS
tokens/s`; with `--precision bf16`, its products run under autocast and ours by `train.precision = "bf16"`.
PYTHON, by default the one that runs this script, needs torch and transformers. Every run is a process of its own; each number
is the median over the rounds. `of its products` is the FLOP/s of smalti's whole training step, counting the operations of the
mathematics, over those of PyTorch's matrix products alone at the same shapes (torch_products.py). Memory is the peak resident
memory of a process as Linux reports it.
"""

import argparse
import json
import os
import re
import subprocess
import sys

LOADS = ["text-nano", "text-char", "image-tiny", "trajectory", "audio"]
HERE = os.path.dirname(os.path.abspath(__file__))


def run(command):
    """The output of a process, and its peak memory in MiB."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with {process.returncode}")
    return output, usage.ru_maxrss / 1024


def median(numbers):
    return sorted(numbers)[len(numbers) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smalti", required=True)
    parser.add_argument("--torch-train", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--loads", default=",".join(LOADS))
    parser.add_argument("--modes", default="eager,compile")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    modes, loads = args.modes.split(","), [load for load in args.loads.split(",") if load]
    if loads:
        print("| load | " + " | ".join(f"PyTorch {mode}" for mode in modes) + " | smalti | of the better | of its products | memory PyTorch | smalti |")
        print("| --- |" + " --- |" * (len(modes) + 5), flush=True)
    for load in loads:
        ours, theirs, memory = [], {mode: [] for mode in modes}, {"smalti": [], "torch": []}
        gflop, products = [], []
        for _ in range(args.rounds):
            bench = [args.smalti, "bench", load, "--json", "--precision", args.precision]
            output, mib = run([*bench, "--steps", str(args.steps)])
            measured = json.loads(output)["loads"][0]
            ours.append(measured["tokens_per_s"])
            gflop.append(measured["gflop_per_s"])
            memory["smalti"].append(mib)
            output, _ = run([args.python, os.path.join(HERE, "torch_products.py"), load])
            products.append(float(re.search(r"([\d.]+) GFLOP/s", output)[1]))
            for mode in modes:
                torch = [args.python, args.torch_train, load, "--mode", mode, "--dtype", args.precision]
                output, mib = run([*torch, "--steps", str(args.steps)])
                theirs[mode].append(float(re.search(r"([\d.]+) tokens/s", output)[1]))
                if mode == "eager":
                    memory["torch"].append(mib)
        better = max(median(rates) for rates in theirs.values())
        cells = [load] + [f"{median(theirs[mode]):,.0f}" for mode in modes]
        cells += [f"{median(ours):,.0f}", f"{median(ours) / better:.2f}"]
        cells += [f"{median(gflop):.0f} of {median(products):.0f} GFLOP/s, {median(gflop) / median(products):.0%}"]
        cells += [f"{median(memory['torch']):,.0f} MiB" if memory["torch"] else "–", f"{median(memory['smalti']):,.0f} MiB"]
        print("| " + " | ".join(cells) + " |", flush=True)

    if args.precision != "f32":
        return
    print("\n| inference | PyTorch | smalti | ratio |\n| --- | --- | --- | --- |", flush=True)
    ours, theirs = {}, {}
    for _ in range(args.rounds):
        for line in json.loads(run([args.smalti, "bench", "inference", "--json"])[0])["inference"]:
            ours.setdefault(line["what"], []).append((line["per_s"], line["unit"], line["share_of_bandwidth"]))
        output, _ = run([args.python, os.path.join(HERE, "torch_inference.py")])
        for what, rate in re.findall(r"torch (\w+ [\w-]+)\s+([\d.]+)", output):
            theirs.setdefault(what, []).append(float(rate))
    for what, figures in ours.items():
        if what not in theirs:
            continue
        per_s, unit, share = median(figures)
        peer = median(theirs[what])
        print(f"| {what} | {peer:,.0f} {unit}/s | {per_s:,.0f} {unit}/s, {share:.0%} of memory's rate | {per_s / peer:.2f} |")


if __name__ == "__main__":
    main()
