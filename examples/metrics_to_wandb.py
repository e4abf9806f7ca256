"""Import the metrics of a run into Weights & Biases.

    python examples/metrics_to_wandb.py RUN [--project NAME]

Writes an offline run below wandb/, without a network: `wandb sync wandb/offline-run-*` uploads it. Needs Python 3.11 and the
package wandb.
"""

import argparse
import json
import tomllib
from pathlib import Path

import wandb


def numbers(value, name):
    """The numbers of a line of metrics.jsonl, by their names: {"eval": {"class": {"loss": 1}}} has eval/class/loss."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}/{key}" if name else key)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from numbers(inner, f"{name}/{place}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value


def lines(run):
    with open(run / "metrics.jsonl", encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return  # a killed run may have written a part of its last line
            yield json.loads(line)


def main():
    parser = argparse.ArgumentParser(description="Import the metrics of a run into Weights & Biases, offline.")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--project", default="smalti", help="name of the project")
    args = parser.parse_args()
    settings = tomllib.loads((args.run / "run.toml").read_text(encoding="utf-8"))
    name = args.run.resolve().name
    run = wandb.init(mode="offline", project=args.project, name=name, config=settings)
    for line in lines(args.run):
        step = line.pop("step")
        values = dict(numbers(line, ""))
        if values:
            run.log(values, step=step)
    run.finish()


if __name__ == "__main__":
    main()
