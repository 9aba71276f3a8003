"""Every family swapped from disk: the live model must be, bit for bit, what ``from_pretrained`` makes of the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from e2lm.errors import UserError
from e2lm.live_weights import WeightSwapper
from e2lm.weights import read_weight_index
from e2lm_adapters.scoring.swap import stored_tensors
from tests.families.architectures import model, write_checkpoint

#: Small enough to cut the tiny models into several files.
SHARD_BYTES = 150_000


@dataclass(frozen=True)
class SwapResult:
    """How a family came out: ``fault`` is empty, or says what differs or was refused."""

    name: str
    files: int
    fault: str

    def __str__(self) -> str:
        return f"{self.name:20s} {self.files} files  {self.fault or 'bit-equal to from_pretrained'}"


def differing(ours: Any, theirs: Any) -> list[str]:
    """Names of parameters and buffers, stored or not, in which two models differ by a bit, a type or their presence."""
    import torch

    found = []
    for kind in ("named_parameters", "named_buffers"):
        left = dict(getattr(ours, kind)(remove_duplicate=False))
        right = dict(getattr(theirs, kind)(remove_duplicate=False))
        for name in sorted(left.keys() | right.keys()):
            one, other = left.get(name), right.get(name)
            if one is None or other is None or one.dtype != other.dtype or not torch.equal(one, other):
                found.append(name)
    return found


def swapped(name: str, folder: Path, dtype: Any = None, **changes: Any) -> SwapResult:
    """Two checkpoints of ``name`` are written into ``folder``; the model of one, which has run, gets the other."""
    import torch
    from transformers import AutoModelForCausalLM

    first = write_checkpoint(folder / "first", model(name, seed=1, dtype=dtype, **changes))
    options = {"max_shard_size": SHARD_BYTES} if len(name) % 2 else {}
    second = write_checkpoint(folder / "second", model(name, seed=2, dtype=dtype, **changes), **options)
    index = read_weight_index(second)
    live = AutoModelForCausalLM.from_pretrained(first)
    built = AutoModelForCausalLM.from_pretrained(second)
    addresses = {key: one.data_ptr() for key, one in live.named_parameters()}
    swapper = WeightSwapper(live, read_weight_index(first))
    ids_BT = torch.arange(40).remainder(live.config.get_text_config().vocab_size)[None]
    with torch.inference_mode():
        before = live(ids_BT).logits
    fault = ""
    try:
        swapper.swap(dict(stored_tensors(index)), second)
    except UserError as error:
        fault = str(error)
    if not fault and (odd := differing(live, built)):
        fault = f"differs in {', '.join(odd[:3])} ({len(odd)} tensors)"
    if not fault and addresses != {key: one.data_ptr() for key, one in live.named_parameters()}:
        fault = "is in another place"
    with torch.inference_mode():
        if not fault and not torch.equal(live(ids_BT).logits, built(ids_BT).logits):
            fault = "gives other logits"
        if not fault and torch.equal(before, live(ids_BT).logits):
            fault = "gives the logits of before"
    return SwapResult(name, len(index.files), fault)


def study(names: Sequence[str]) -> int:
    """How many of ``names`` come out bit-equal, each told as it comes."""
    passed = 0
    for name in names:
        with TemporaryDirectory() as folder:
            result = swapped(name, Path(folder))
        print(result, flush=True)
        passed += not result.fault
    return passed
