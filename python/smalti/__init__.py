"""Tokens of texts, images, audio, numbers and trajectories, batches of them for PyTorch, and trained models.

Tokenizer: values of one modality to tokens and back.
Table: any source of smalti as rows. Loader: its rows as batches of tokens, packed or padded.
Model: a trained run, which predicts, embeds and generates.

Training is the work of the program `smalti`. Notes about data are messages of the logger "smalti".
"""

import os

# candle adds large tensors on a pool of its own, whose threads wait by spinning.
os.environ.setdefault("CANDLE_NUM_THREADS", "1")

from ._errors import Error, FileError, InputError
from ._smalti import Batch, Content, Group, Loader, Model, Stream, Table, Target, Tokenizer, Tokens, __version__

__all__ = [
    "Batch",
    "Content",
    "Error",
    "FileError",
    "Group",
    "InputError",
    "Loader",
    "Model",
    "Stream",
    "Table",
    "Target",
    "Tokenizer",
    "Tokens",
    "__version__",
]
