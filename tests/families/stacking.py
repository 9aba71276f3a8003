"""Every family with its layers stacked anew by slices: the logits must be those of a model stacked by hand.

Layers in another order and one of them twice: what the config says of single layers has to follow them. A merge that is
refused with a reason is told, and is no fault: no config can say what the layers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from e2lm.errors import UserError
from tests.families.architectures import ARCHITECTURES, LAYERS, model, write_checkpoint

DEPTH = 2 * LAYERS
#: Layers of each slice, and so of the output.
SLICES = ((1, DEPTH), (0, 2))
ORDER = [layer for start, end in SLICES for layer in range(start, end)]
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
#: Lists of settings that are a pattern and go on by themselves, and lists of numbers of layers.
PATTERNS, OF_LAYERS = ("block_types", "attention_types"), ("attn_layer_indices",)
TOKENS, FAR = 80, 1e-5


@dataclass(frozen=True)
class StackResult:
    """How a family came out: ``refusal`` where the merge has a reason against it, ``fault`` where it is wrong."""

    name: str
    refusal: str
    fault: str

    def __str__(self) -> str:
        told = self.fault or f"refused: {self.refusal}" if self.fault or self.refusal else "logits as stacked by hand"
        return f"{self.name:20s} {told}"


def deeper(name: str) -> dict[str, Any]:
    """Settings of a family that make it twice as deep, its kinds of layers repeated."""
    settings = ARCHITECTURES[name].settings
    changes: dict[str, Any] = {field: DEPTH for field in LAYER_COUNTS if field in settings}
    for field, value in settings.items():
        if field == "attention_types":
            changes[field] = [[kinds, count * 2] for kinds, count in value]
        elif field in OF_LAYERS:
            changes[field] = [*value, *(one + LAYERS for one in value)]
        elif isinstance(value, list) and len(value) == LAYERS and field not in PATTERNS:
            changes[field] = value * 2
    return changes


def stacked(name: str, folder: Path) -> StackResult:
    """A model of ``name`` is written into ``folder``, stacked by a merge and by hand, and both are asked."""
    import torch

    from e2lm_merge.output.in_memory import merged_model
    from e2lm_merge.plan.merge_plan import plan_merge
    from e2lm_merge.plan.recipe import recipe_from_data

    built = model(name, **deeper(name))
    write_checkpoint(folder, built)
    slices = [{"sources": [{"model": str(folder), "layer_range": list(one)}]} for one in SLICES]
    try:
        plan = plan_merge(recipe_from_data({"merge_method": "passthrough", "slices": slices}, name))
        merged = merged_model(plan, 1).eval()
    except UserError as error:
        return StackResult(name, str(error).replace(str(folder), "m"), "")
    except Exception as error:
        return StackResult(name, "", f"{type(error).__name__}: {error}"[:200])
    ids_BT = (torch.arange(TOKENS) * 7 % 400 + 3)[None]
    with torch.inference_mode():
        try:
            expected, found = (one(ids_BT, use_cache=False).logits for one in (_by_hand(built), merged))
        except Exception as error:
            return StackResult(name, "", f"runs not: {type(error).__name__}: {error}"[:200])
    off = float((expected - found).abs().max() / expected.abs().max())
    return StackResult(name, "", "" if off <= FAR else f"logits are {off:.2g} of the largest apart")


def _by_hand(built: Any) -> Any:
    """``built`` with its layers in the order of the slices; every list of its config by layer in that order too."""
    import torch

    for parent in list(built.modules()):
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == DEPTH and _is_stack(name):
                setattr(parent, name, torch.nn.ModuleList([child[layer] for layer in ORDER]))
                if hasattr(parent, "num_hidden_layers"):
                    parent.num_hidden_layers = len(ORDER)
    config = built.config
    for field, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == DEPTH:
            setattr(config, field, [value[layer] for layer in ORDER])
        elif field in LAYER_COUNTS and value == DEPTH:
            setattr(config, field, len(ORDER))
    return built


def _is_stack(name: str) -> bool:
    return name in ("layers", "h", "blocks", "layer")


def study(names: Sequence[str]) -> int:
    """How many of ``names`` are as by hand or refused, each told as it comes."""
    passed = 0
    for name in names:
        with TemporaryDirectory() as folder:
            result = stacked(name, Path(folder))
        print(result, flush=True)
        passed += not result.fault
    return passed
