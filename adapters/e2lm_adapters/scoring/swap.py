"""Finds NaN and infinity in stored weights, and reads the next checkpoint while the present one is scored.

How they get into the model is told by :mod:`e2lm.live_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.checkpoint import Checkpoint
from e2lm.errors import NotFiniteError, UserError
from e2lm.live_weights import is_left_alone
from e2lm.one_thread import one_torch_thread
from e2lm.weights import WeightIndex, other_shape, read_weight_index, weights_hash
from e2lm_adapters.checkpoints.identity import InputFiles

if TYPE_CHECKING:
    import torch


class UnusableCheckpointError(UserError):
    """A checkpoint that cannot be loaded for a reason of its own; others of the series may be."""


class UnloadableCheckpointError(UnusableCheckpointError):
    """A checkpoint of which transformers makes no model here and now: another release or package may.

    ``reason`` is the same for checkpoints that fail alike.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CheckedWeights:
    """A checkpoint whose numbers have been looked at; ``not_finite`` says where one is none, and is empty otherwise.

    ``index`` is None where the checkpoint is still to be fetched. ``files`` are name and hash of what else of it counts
    (:mod:`e2lm_adapters.checkpoints.identity`).
    """

    index: WeightIndex | None
    sha256: str
    not_finite: str = ""
    files: InputFiles = ()


def checked_weights(folder: Path) -> CheckedWeights:
    """The checkpoint in ``folder``, read once; a :class:`NotFiniteError` names the tensor with NaN or infinity."""
    index = read_weight_index(folder)
    _require_finite(index)
    return CheckedWeights(index, weights_hash(index))


def seen_weights(folder: Path) -> CheckedWeights:
    """As :func:`checked_weights`, but what is not finite is said by what comes back."""
    try:
        return checked_weights(folder)
    except NotFiniteError as error:
        index = read_weight_index(folder)
        return CheckedWeights(index, weights_hash(index), str(error))


def _require_finite(index: WeightIndex) -> None:
    with one_torch_thread():
        for name, tensor in stored_tensors(index):
            if tensor.is_floating_point() and not bool(_is_finite(tensor).all()):
                if is_left_alone(index.folder, name, tensor):
                    continue
                bad = int((~_is_finite(tensor)).sum())
                count = tensor.numel()
                raise NotFiniteError(f"{index.folder}: tensor {name!r} holds {bad} NaN or infinite of {count} numbers")


def _is_finite(tensor: torch.Tensor) -> torch.Tensor:
    """Which numbers are; torch tells it of wide types alone, and those of four bits it cannot widen have no NaN."""
    import torch

    if tensor.dtype.itemsize > 1:
        return tensor.isfinite()
    try:
        return tensor.to(torch.float32).isfinite()
    except RuntimeError:
        return torch.ones(tensor.shape, dtype=torch.bool)


def stored_tensors(index: WeightIndex) -> Iterable[tuple[str, torch.Tensor]]:
    """Every tensor of the checkpoint, one file at a time."""
    from safetensors import safe_open

    for file in index.files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - safe_open is no mapping
                yield name, opened.get_tensor(name)


def require_same_shapes(first: WeightIndex, other: WeightIndex) -> None:
    """A :class:`UserError` that names tensor, shapes and folders where both hold a tensor and its shapes differ."""
    found = other_shape(first, other)
    if found:
        raise UserError(f"{other.folder}: {found}")


class ReadAhead(AbstractContextManager["ReadAhead"]):
    """Reads the weights of the next checkpoint while the current one is scored; ``folder_of`` fetches it first."""

    def __init__(self, folder_of: Callable[[Checkpoint], Path] | None = None) -> None:
        self._folder_of = folder_of
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="e2lm-read-ahead")
        self._next: tuple[Path | Checkpoint, Future[dict[str, torch.Tensor]]] | None = None

    def start(self, place: Path | Checkpoint) -> None:
        """Begin to read ``place``."""
        if self._next is None or self._next[0] != place:
            self._next = (place, self._pool.submit(self._read, place))

    def take(self, place: Path | Checkpoint) -> dict[str, torch.Tensor]:
        """The tensors of ``place``, waiting for them if need be."""
        begun, self._next = self._next, None
        if begun is None or begun[0] != place:
            self.start(place)
            begun, self._next = self._next, None
        assert begun is not None
        return begun[1].result()

    def _read(self, place: Path | Checkpoint) -> dict[str, torch.Tensor]:
        if isinstance(place, Checkpoint):
            assert self._folder_of is not None
            place = self._folder_of(place)
        return dict(stored_tensors(read_weight_index(place)))

    def __exit__(self, *details: object) -> None:
        self._pool.shutdown(cancel_futures=True)
