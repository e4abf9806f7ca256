"""Write the test data of this folder: `python make.py FOLDER`, with pyarrow 26.0.1, h5py 3.16.0 and numpy 2.4.6.

The readers are tested on these files of other programs: a data set in LeRobot's layout (version 2.1, one file for each
episode), one of its files as in version 3 (many episodes, Zstandard, pages of version 2), D4RL's arrays in HDF5, and
Minari's groups.
"""

import json
import os
import struct
import sys
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

out = sys.argv[1]

def png(e, t):
    """An image of 8×8 pixels of one colour, which encodes the episode and the step."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = (b"\0" + bytes([10 * e, 10 * t, 100]) * 8) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

# LeRobot v2.1: one file for each episode.
root = f"{out}/lerobot"
os.makedirs(f"{root}/meta", exist_ok=True); os.makedirs(f"{root}/data/chunk-000", exist_ok=True)
def table(episodes):
    steps = [(e, t) for e, n in episodes for t in range(n)]
    state = [[e + t / 8, -t / 4] for e, t in steps]
    return pa.table({
        "observation.state": pa.array(state, pa.list_(pa.float32(), 2)),
        "action": pa.array([[t / 2, 1 - t, e] for e, t in steps], pa.list_(pa.float32())),
        "observation.image": pa.array([{"bytes": png(e, t), "path": f"frame_{t:06d}.png"} for e, t in steps], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "timestamp": pa.array([t / 10 for _, t in steps], pa.float32()),
        "frame_index": pa.array([t for _, t in steps], pa.int64()),
        "episode_index": pa.array([e for e, _ in steps], pa.int64()),
        "index": pa.array(range(len(steps)), pa.int64()),
        "task_index": pa.array([0] * len(steps), pa.int64()),
        "next.reward": pa.array([t * 1.0 for _, t in steps], pa.float32()),
        "next.done": pa.array([t + 1 == dict(episodes)[e] for e, t in steps], pa.bool_()),
        "next.success": pa.array([False for _ in steps], pa.bool_()),
    })
for e, n in [(0, 3), (1, 4)]:
    pq.write_table(table([(e, n)]), f"{root}/data/chunk-000/episode_{e:06d}.parquet")
info = {"codebase_version": "v2.1", "robot_type": "arm", "total_episodes": 2, "total_frames": 7, "total_tasks": 1, "total_videos": 2, "total_chunks": 1, "chunks_size": 1000, "fps": 10, "splits": {"train": "0:2"},
 "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
 "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
 "features": {"observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["pan", "lift"]}},
  "action": {"dtype": "float32", "shape": [3], "names": ["pan", "lift", "grip"]},
  "observation.image": {"dtype": "image", "shape": [8, 8, 3], "names": ["height", "width", "channel"]},
  "observation.images.top": {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channel"], "info": {"video.fps": 10.0}},
  "timestamp": {"dtype": "float32", "shape": [1], "names": None}, "frame_index": {"dtype": "int64", "shape": [1], "names": None},
  "episode_index": {"dtype": "int64", "shape": [1], "names": None}, "next.reward": {"dtype": "float32", "shape": [1], "names": None}}}
json.dump(info, open(f"{root}/meta/info.json", "w"), indent=1)
open(f"{root}/meta/episodes.jsonl", "w").write("".join(json.dumps({"episode_index": e, "tasks": ["push"], "length": n}) + "\n" for e, n in [(0, 3), (1, 4)]))
open(f"{root}/meta/tasks.jsonl", "w").write('{"task_index": 0, "task": "push"}\n')
pq.write_table(table([(0, 3), (1, 4)]), f"{out}/file-000.parquet", compression="zstd", row_group_size=5, data_page_version="2.0")
# D4RL
with h5py.File(f"{out}/d4rl.hdf5", "w") as f:
    f.create_dataset("observations", data=np.arange(12, dtype="f4").reshape(6, 2) / 2, compression="gzip")
    f.create_dataset("actions", data=np.arange(6, dtype="f4").reshape(6, 1), compression="gzip")
    f.create_dataset("rewards", data=np.arange(6, dtype="f4"), compression="gzip")
    f.create_dataset("terminals", data=np.array([0, 1, 0, 0, 0, 0], bool), compression="gzip")
    f.create_dataset("timeouts", data=np.array([0, 0, 0, 0, 1, 0], bool), compression="gzip")
    f.create_dataset("metadata/algorithm", data="SAC")
# Minari
with h5py.File(f"{out}/main_data.hdf5", "w") as f:
    for e in range(2):
        n = 3 + e
        g = f.create_group(f"episode_{e}"); g.attrs["id"] = e; g.attrs["total_steps"] = n
        o = g.create_group("observations")
        o.create_dataset("observation", data=np.arange(2 * n + 2, dtype="f8").reshape(n + 1, 2))
        o.create_dataset("achieved_goal", data=np.full((n + 1, 1), e, "f8"))
        g.create_dataset("actions", data=np.arange(n))
        g.create_dataset("rewards", data=np.ones(n))
        t = np.zeros(n, bool); u = np.zeros(n, bool); (t if e else u)[-1] = True
        g.create_dataset("terminations", data=t); g.create_dataset("truncations", data=u)
