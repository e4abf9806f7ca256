"""Read what `smalti data convert` writes with Hugging Face's datasets and with webdataset.

    python read_converted.py SMALTI

Needs the packages datasets, webdataset, pillow and soundfile. Fails with the first difference.
"""

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import numpy
import soundfile
import webdataset
from PIL import Image

SMALTI = str(Path(sys.argv[1]).resolve())
datasets.disable_progress_bars()


def convert(source: str, dest: Path, *options: str) -> dict:
    command = [SMALTI, "data", "convert", source, str(dest), "--json", *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def parquet(folder: Path, cache: Path) -> datasets.DatasetDict:
    return datasets.load_dataset(str(folder), cache_dir=str(cache))


def images(folder: Path) -> None:
    convert("builtin:digits", folder / "p", "--to", "parquet")
    convert("builtin:digits", folder / "w", "--to", "webdataset", "--rows-per-shard", "500")
    splits = parquet(folder / "p", folder / "cache")
    assert set(splits) == {"train", "test"}, splits
    for name, rows in splits.items():
        assert isinstance(rows.features["image"], datasets.Image), rows.features
        shards = sorted(str(shard) for shard in (folder / "w").glob(f"{name}-*.tar"))
        tar_rows = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
        assert len(rows) == len(tar_rows) > 0, (name, len(rows), len(tar_rows))
        for row, tar_row in zip(rows, tar_rows):
            image = numpy.asarray(row["image"].convert("L"))
            assert image.shape == (8, 8)
            assert (image == numpy.asarray(tar_row["png"].convert("L"))).all()
            assert row["label"] == tar_row["cls"] or row["label"] == tar_row.get("json", {}).get("label")


def classes(folder: Path) -> None:
    for number, label in enumerate(("cat", "dog", "cat", "emu")):
        path = folder / "photos" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (60 * number, 10, 20)).save(path)
    convert(str(folder / "photos"), folder / "p", "--to", "parquet")
    convert(str(folder / "photos"), folder / "w", "--to", "webdataset")
    rows = parquet(folder / "p", folder / "cache")["train"]
    image = next(field for field, kind in rows.features.items() if isinstance(kind, datasets.Image))
    assert rows.features["label"].names == ["cat", "dog", "emu"], rows.features
    shards = sorted(str(shard) for shard in (folder / "w").glob("*.tar"))
    names = (folder / "w" / "classes.txt").read_text().split()
    tar_rows = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(rows) == len(tar_rows) == 4
    # Found by the name of the split, although there are as many files of other formats.
    found = datasets.load_dataset(str(folder / "w"), cache_dir=str(folder / "cache"))
    assert len(found["train"]) == 4 and "png" in found["train"].features, found
    for row, tar_row in zip(rows, tar_rows):
        assert (numpy.asarray(row[image]) == numpy.asarray(tar_row["png"])).all()
        assert rows.features["label"].int2str(row["label"]) == names[tar_row["cls"]]


def clips(folder: Path) -> None:
    convert("builtin:touchtone.tar", folder / "p", "--to", "parquet", "--sampling-rate", "4000")
    convert("builtin:touchtone.tar", folder / "w", "--to", "webdataset", "--sampling-rate", "4000")
    splits = parquet(folder / "p", folder / "cache")
    for name, rows in splits.items():
        audio = next(field for field, kind in rows.features.items() if isinstance(kind, datasets.Audio))
        rows = rows.cast_column(audio, datasets.Audio(decode=False))
        shards = sorted(str(shard) for shard in (folder / "w").glob(f"{name}-*.tar"))
        tar_rows = list(webdataset.WebDataset(shards, shardshuffle=False))
        assert len(rows) == len(tar_rows) > 0, (name, len(rows), len(tar_rows))
        for row, tar_row in zip(rows, tar_rows):
            samples, rate = soundfile.read(io.BytesIO(row[audio]["bytes"]))
            other, _ = soundfile.read(io.BytesIO(tar_row["wav"]))
            assert rate == 4000 and len(samples) > 0 and (samples == other).all()
            assert row["text"] == tar_row["text"].decode()


def episodes(folder: Path) -> None:
    convert("builtin:cartpole-mixed.npz", folder / "p", "--to", "parquet")
    rows = parquet(folder / "p", folder / "cache")["train"]
    for row in rows:
        steps = len(row["actions"])
        assert numpy.asarray(row["observations"]).shape == (steps, 4)
        assert len(row["rewards"]) == steps > 0
    convert("builtin:cartpole-mixed.npz", folder / "w", "--to", "webdataset")
    shards = sorted(str(shard) for shard in (folder / "w").glob("*.tar"))
    tar_rows = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert len(rows) == len(tar_rows)
    for row, tar_row in zip(rows, tar_rows):
        assert (numpy.float32(row["observations"]) == tar_row["observations.series.npy"]).all()
        assert (numpy.asarray(row["actions"]) == tar_row["actions.series.npy"]).all()


with tempfile.TemporaryDirectory() as temporary:
    for check in (images, classes, clips, episodes):
        check(Path(temporary) / check.__name__)
        print(f"{check.__name__}: read alike", flush=True)
