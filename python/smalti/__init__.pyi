"""Tokens of texts, images, audio, numbers and trajectories, batches of them for PyTorch, and trained models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Optional, Union, overload

import numpy as np
import numpy.typing as npt

__version__: str

Path = Union[str, PathLike[str]]
#: str, bytes of a file or its `pathlib.Path`, a number, an array, a clip `{"array": samples, "sampling_rate": Hz}`, a file
#: `{"bytes": …, "path": …}`, a list with a value for each time step, or None.
Value = Any
Row = Mapping[str, Value]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

class Error(Exception):
    """Any error of smalti."""

class InputError(Error, ValueError):
    """A value, a setting or data that cannot be used."""

class FileError(Error, OSError):
    """A file or folder that cannot be read."""

class Group:
    """The tokens of one kind."""

    @property
    def kind(self) -> str: ...
    @property
    def ids(self) -> Optional[Int32]:
        """[n]: ids into a vocabulary; None if the content is features."""
    @property
    def features(self) -> Optional[Float32]:
        """[n, dim]: real features; None if the content is ids."""
    @property
    def positions(self) -> Int32:
        """[n, axes]: the place on each axis, such as a patch's row and column."""
    @property
    def order(self) -> Int32:
        """[n]: the place in the sequence, over all kinds."""
    @property
    def time(self) -> Int32:
        """[n]: the time step."""

class Tokens:
    """The tokens of a value, one group for each kind."""

    @property
    def kinds(self) -> list[str]: ...
    @property
    def ids(self) -> Optional[Int32]:
        """[n]: the ids of tokens of one kind."""
    @property
    def features(self) -> Optional[Float32]:
        """[n, dim]: the features of tokens of one kind."""
    @property
    def positions(self) -> Int32:
        """[n, axes]: the positions of tokens of one kind."""
    def __len__(self) -> int: ...
    def __getitem__(self, kind: str, /) -> Group: ...

class Tokenizer:
    """A tokenizer of one modality; settings that are left out are fitted to `values`."""

    def __new__(cls, modality: str, values: Optional[Iterable[Value]] = None, **settings: Any) -> Tokenizer: ...
    @staticmethod
    def from_config(modality: str, config: Any) -> Tokenizer: ...
    @staticmethod
    def from_run(run: Path, part: str) -> Tokenizer: ...
    @property
    def modality(self) -> str: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def kinds(self) -> list[dict[str, Any]]:
        """`name`, `vocabulary` or `dim`, `axes`, `time_steps` of each kind of token."""
    def encode(
        self,
        value: Value,
        *,
        sampling_rate: Optional[int] = None,
        max_length: Optional[int] = None,
        seed: Optional[int] = None,
    ) -> Tokens: ...
    def encode_batch(
        self,
        values: Iterable[Value],
        *,
        sampling_rate: Optional[int] = None,
        max_length: Optional[int] = None,
        seed: Optional[int] = None,
    ) -> list[Tokens]: ...
    def decode(self, tokens: Union[Tokens, npt.ArrayLike]) -> Value: ...

class Table:
    """The rows of a source."""

    def __new__(
        cls,
        source: Union[Path, Sequence[Path]],
        *,
        layout: Optional[str] = None,
        columns: Optional[Sequence[str]] = None,
        allow_outside: bool = False,
    ) -> Table: ...
    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> list[str]: ...
    @property
    def schema(self) -> dict[str, Optional[str]]: ...
    @property
    def skipped(self) -> list[tuple[str, str]]: ...
    def classes(self, field: str) -> Optional[list[str]]: ...
    def value(self, row: int, field: str) -> Value: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> dict[str, Value]: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[dict[str, Value]]: ...
    def __iter__(self) -> Iterator[dict[str, Value]]: ...

class Content:
    """The tokens of one kind in a batch."""

    @property
    def ids(self) -> Optional[Int32]:
        """[n]"""
    @property
    def features(self) -> Optional[Float32]:
        """[n, dim]"""
    @property
    def positions(self) -> Int32:
        """[n, axes]"""
    @property
    def time(self) -> Int32:
        """[n]"""
    @property
    def index(self) -> Int64:
        """[n]: the places of the tokens among the flattened tokens of the batch."""

class Stream:
    """The tokens of one transformer: [n_tokens] packed, or [n_documents, max_seqlen] padded."""

    @property
    def cu_seqlens(self) -> Int32:
        """[n_documents + 1]"""
    @property
    def max_seqlen(self) -> int: ...
    @property
    def mask(self) -> Optional[npt.NDArray[np.bool_]]:
        """[n_documents, max_seqlen]: True for a token; None if the batch is packed."""
    @property
    def kinds(self) -> Int32:
        """The number of each token's kind in `Loader.kinds`; -1 is padding."""
    @property
    def order(self) -> Int32: ...
    @property
    def time(self) -> Int32: ...
    @property
    def positions(self) -> Int32:
        """[…, 2]"""
    @property
    def content(self) -> dict[str, Content]: ...

class Target:
    """The tokens that an output's head reads, and its targets."""

    @property
    def rows(self) -> Int64:
        """[n_rows]: the places of the read tokens among the flattened main tokens."""
    @property
    def pools(self) -> Optional[Int64]:
        """[n, 2]: ranges of `rows` that the head pools."""
    @property
    def ids(self) -> Optional[Int64]:
        """[n_targets]"""
    @property
    def values(self) -> Optional[Float32]:
        """[n_targets, dim]"""
    @property
    def weights(self) -> Optional[Float32]:
        """[n_targets]; of labels, [n_documents]"""
    @property
    def labels(self) -> Optional[list[Int32]]: ...
    @property
    def pairs(self) -> Optional[Int64]:
        """[n_pairs, 4]"""
    @property
    def samples(self) -> Int64:
        """[n]: the numbers of the samples that have this output."""
    @property
    def cu_seqlens(self) -> Int32:
        """[n + 1]: the first target of each of these samples."""

class Batch:
    """The tokens of several samples, and the targets of each output."""

    @property
    def main(self) -> Stream: ...
    @property
    def encoder(self) -> Optional[Stream]: ...
    @property
    def targets(self) -> dict[str, Target]: ...
    @property
    def n_documents(self) -> int: ...

class Loader:
    """The samples of a task, or of a mix of tasks, as batches of tokens with targets."""

    def __new__(
        cls,
        settings: Union[Path, Mapping[str, Any]],
        *,
        split: Literal["train", "validation"] = "train",
        set: Optional[Mapping[str, Any]] = None,
        padded: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> Loader: ...
    @staticmethod
    def from_run(
        run: Path,
        *,
        split: Literal["train", "validation"] = "train",
        set: Optional[Mapping[str, Any]] = None,
        padded: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> Loader: ...
    def validation(self) -> Loader: ...
    @property
    def kinds(self) -> list[dict[str, Any]]: ...
    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """`width`, `labels` and `weight` of each output."""
    @property
    def n_samples(self) -> int: ...
    def state_dict(self) -> dict[str, int]: ...
    def load_state_dict(self, state_dict: dict[str, int]) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...

class Model:
    """A trained run."""

    @staticmethod
    def load(run: Path, *, weights: Literal["best", "last"] = "best", device: str = "cpu") -> Model: ...
    @property
    def tasks(self) -> list[dict[str, Any]]: ...
    @property
    def kinds(self) -> list[dict[str, Any]]: ...
    @overload
    def predict(
        self,
        rows: Row,
        *,
        task: Optional[str] = None,
        max_new_tokens: Optional[int] = None,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1337,
        batch_size: int = 32,
    ) -> dict[str, dict[str, Any]]: ...
    @overload
    def predict(
        self,
        rows: Iterable[Row],
        *,
        task: Optional[str] = None,
        max_new_tokens: Optional[int] = None,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1337,
        batch_size: int = 32,
    ) -> list[dict[str, dict[str, Any]]]: ...
    def embed(
        self,
        values: Iterable[Value],
        *,
        input: Optional[str] = None,
        task: Optional[str] = None,
        pool: Optional[Literal["class_token", "mean", "first", "last"]] = None,
        normalize: bool = False,
        max_length: int = 0,
        batch_size: int = 32,
    ) -> Float32:
        """[n, d_model]"""
    def generate(
        self,
        prompt: Value,
        *,
        max_new_tokens: Optional[int] = 300,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1337,
    ) -> Value: ...
