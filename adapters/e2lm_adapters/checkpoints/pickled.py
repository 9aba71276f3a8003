"""Turns pickled weights into safetensors, where the user allowed it.

``torch.load(weights_only=True)`` refuses everything but tensors and plain containers, so a pickle cannot run code of
its own choice; it has had holes (CVE-2025-32434, closed in torch 2.6), therefore a flag and no default.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.atomic_file import whole_file
from e2lm.pickled_weights import pickled_files, unpickled
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
        weights.update(unpickled(file))
    place.mkdir(parents=True, exist_ok=True)
    for pattern in COMPANIONS:
        for companion in sorted(folder.glob(pattern)):
            if companion.parent != place and not companion.name.startswith("pytorch_model"):
                shutil.copyfile(companion, place / companion.name)
    # Tied weights share memory in a pickle; safetensors holds each by itself.
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    with whole_file(place / SINGLE_FILE) as partial:
        save_file(whole, partial, metadata={"format": "pt"})
