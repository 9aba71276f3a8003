"""Swapping weights again and again takes no more memory than doing it once."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import save_file

from e2lm.live_weights import WeightSwapper
from e2lm.weights import SINGLE_FILE, read_weight_index
from e2lm_adapters.scoring.swap import ReadAhead

SWAPS, LOOK_EVERY = 100, 10
#: A model of this many numbers takes 32 MiB: one copy that stayed would be three times what is allowed of 500 MiB.
WIDTH, LAYERS = 1024, 8


class Stack(torch.nn.Module):
    base_model_prefix = ""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))


def resident_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two checkpoints of 32 MiB."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        folder = tmp_path / f"checkpoint-{seed}"
        folder.mkdir()
        save_file(Stack().state_dict(), folder / SINGLE_FILE)
        found.append(folder)
    return found


def test_a_hundred_swaps_leave_the_memory_flat_within_two_percent(folders: list[Path]) -> None:
    model: Any = Stack()
    swapper = WeightSwapper(model, read_weight_index(folders[0]))
    sizes = []
    with ReadAhead() as reader:
        for number in range(SWAPS):
            swapper.swap(reader.take(folders[number % 2]))
            reader.start(folders[(number + 1) % 2])
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                sizes.append(resident_mib())
    assert len(sizes) == SWAPS // LOOK_EVERY
    assert max(sizes[1:]) <= sizes[0] * 1.02


def test_what_was_read_ahead_in_vain_is_given_up(folders: list[Path]) -> None:
    with ReadAhead() as reader:
        reader.start(folders[0])
        reader.take(folders[1])
        assert reader._next is None
