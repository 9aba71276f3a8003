"""Turns pickled weights into safetensors, where the user allowed it.

``torch.load(weights_only=True)`` refuses everything but tensors and plain containers, so a pickle cannot run code of
its own choice; it has had holes (CVE-2025-32434, closed in torch 2.6), therefore a flag and no default.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.atomic_file import whole_file
from e2lm.errors import UserError, one_line
from e2lm.pickled_weights import pickled_files
from e2lm.weights import SINGLE_FILE

if TYPE_CHECKING:
    import torch

#: What else a checkpoint needs to be loaded.
COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja")


def write_as_safetensors(folder: Path, place: Path) -> None:
    """Write the pickled checkpoint in ``folder`` to ``place`` as safetensors, with configuration and tokenizer."""
    from safetensors.torch import save_file

    weights: dict[str, torch.Tensor] = {}
    for file in pickled_files(folder):
        weights.update(_unpickled(file))
    place.mkdir(parents=True, exist_ok=True)
    for pattern in COMPANIONS:
        for companion in sorted(folder.glob(pattern)):
            if companion.parent != place and not companion.name.startswith("pytorch_model"):
                shutil.copyfile(companion, place / companion.name)
    # Tied weights share memory in a pickle; safetensors holds each by itself.
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    with whole_file(place / SINGLE_FILE) as partial:
        save_file(whole, partial, metadata={"format": "pt"})


def _unpickled(file: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        raise UserError(f"{file}: refused, damaged or more than tensors ({one_line(error):.160})") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise UserError(f"{file}: not the weights of a model (expected tensors by name)")
    return {str(name): value for name, value in loaded.items()}
