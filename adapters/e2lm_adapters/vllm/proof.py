"""Whether a live engine computes what transformers computes with the same weights, and weights that show it best.

In float32 the engine may be off by rounding; in half precision by a few times what transformers itself is off when it
computes in that precision.

A checkpoint is a poor probe of how weights are replaced: the first one often has an output head of zeros, whose
answers hide everything behind it, and two that stand side by side hardly differ. :func:`disturbed_copy` makes one in
which every number of every tensor is another.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from e2lm.weights import read_weight_index
from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.vllm.truth import Truth, UnprovableError

if TYPE_CHECKING:
    import torch

#: Enough to see every expert of a mixture, few enough to cost nothing.
PROMPTS, PROMPT_TOKENS = 6, 32
#: Nats per token that rounding in float32 may cost, and from where on a line says that it is more than usual.
FLOAT32_NATS, UNUSUAL_NATS = 1e-3, 1e-4
#: In half precision: how many times transformers' own mean distance from float32, and never less than this.
SPREADS, HALF_NATS = 4.0, 0.02
#: Share of its own spread by which a disturbed tensor moves, and the least step: biases are often all zero.
DISTURBANCE, LEAST_STEP = 1.0, 0.05


@dataclass(frozen=True, slots=True)
class Distance:
    """Nats per token between an engine and transformers, and what is allowed: the largest in float32, else the mean."""

    nats: float
    allowed: float
    usual: float

    @property
    def is_exact(self) -> bool:
        """Whether it is no more than usual."""
        return self.nats <= self.usual

    @property
    def agrees(self) -> bool:
        """Whether it is rounding."""
        return self.nats <= self.allowed

    def __str__(self) -> str:
        """For a line that a person reads."""
        return f"{self.nats:.3g} nats per token (usual {self.usual:.2g}, allowed {self.allowed:.2g})"


def distance(truth: Truth, logprobs: Sequence[Sequence[float]]) -> Distance:
    """How far an engine's ``logprobs`` are from the truth."""
    found = np.concatenate([np.asarray(one, dtype=np.float64) for one in logprobs])
    expected = np.concatenate([np.asarray(one, dtype=np.float64) for one in truth.logprobs])
    if found.shape != expected.shape:
        return Distance(np.inf, 0.0, 0.0)
    away = np.nan_to_num(np.abs(found - expected), nan=np.inf)
    if truth.spread is None:
        return Distance(float(away.max()), FLOAT32_NATS, UNUSUAL_NATS)
    allowed = max(SPREADS * truth.spread, HALF_NATS)
    return Distance(float(away.mean()), allowed, allowed)


def proof_prompts(vocabulary: int) -> list[TokenRequest]:
    """The same few prompts for every engine: tokens from the middle of the vocabulary, none of them special."""
    rng = np.random.default_rng(20)
    tokens = rng.integers(vocabulary // 8, vocabulary - vocabulary // 8, (PROMPTS, PROMPT_TOKENS)).tolist()
    return [TokenRequest((row[0],), tuple(row[1:])) for row in tokens]


def disturbed_copy(folder: Path, place: Path) -> None:
    """The checkpoint in ``folder`` copied to ``place``, every tensor with other numbers of the same size and type."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    index = read_weight_index(folder)
    needed, free = sum(file.stat().st_size for file in index.files), shutil.disk_usage(place).free
    if needed > free:
        raise UnprovableError(f"{place} has room for {free / 1e9:.1f} GB, a checkpoint needs {needed / 1e9:.1f}")
    for small in [*folder.glob("*.json"), *folder.glob("*.py")]:
        shutil.copyfile(small, place / small.name)
    noise = torch.Generator().manual_seed(20)
    for file in index.files:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: _disturbed(opened.get_tensor(name), noise) for name in opened.keys()}  # noqa: SIM118
        save_file(tensors, place / file.name, metadata={"format": "pt"})


def _disturbed(tensor: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    import torch

    if not tensor.is_floating_point():
        return tensor
    old = tensor.float()
    spread = float(old.std(correction=0)) if old.numel() else 0.0
    step = max(DISTURBANCE * spread, 0.1 * float(old.abs().mean()) if old.numel() else 0.0, LEAST_STEP)
    # The size stays what it was, so that logits grow no larger than the model's own.
    new = (old + step * torch.randn(old.shape, generator=noise)) / (1.0 if spread < LEAST_STEP else 2**0.5)
    return new.to(tensor.dtype)
