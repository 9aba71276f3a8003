"""What a merge was made of, written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import xxhash

from e2lm.run_record import recorded_versions
from e2lm_merge.merge_journal import FinishedTensor
from e2lm_merge.merge_plan import MergePlan

PROVENANCE_FILE = "merge.json"


@cache
def _versions() -> dict[str, str]:
    """Read once per process: it takes as long as merging fifty million numbers."""
    return recorded_versions()


def plan_identity(plan: MergePlan, shard_bytes: int) -> dict[str, Any]:
    """Everything that decides the output's bytes; a resumed merge must agree in all of it."""
    return {
        "recipe": plan.recipe.model_dump(mode="json"),
        "inputs": [model.identity for model in plan.models],
        "donor": plan.donor.label,
        "steps": list(plan.steps),
        "shard_bytes": shard_bytes,
        "tensors": [[merge.name, merge.dtype, list(merge.shape), list(merge.weights)] for merge in plan.merges],
        "versions": _versions(),
    }


def provenance(plan: MergePlan, finished: Mapping[str, FinishedTensor]) -> dict[str, Any]:
    """Recipe, inputs with checksums of what was read, output checksum, versions: the same for the same merge.

    A model's checksum is XXH3-128 over the sorted lines ``tensor checksum`` of its tensors that went into the merge.
    """
    read: dict[str, dict[str, str]] = {}
    for merge in plan.merges:
        for source, digest in zip(merge.inputs, finished[merge.name].inputs, strict=True):
            read.setdefault(source.label, {})[merge.name] = digest
    output = {name: one.output for name, one in finished.items()}
    return {
        "schema_version": 1,
        "command": "e2lm merge",
        "recipe": plan.recipe.model_dump(mode="json", exclude_defaults=True),
        "strategy": {"name": plan.strategy.name, "formula": plan.strategy.formula, "source": plan.strategy.source},
        "donor": plan.donor.label,
        "steps": list(plan.steps),
        "inputs": [
            {
                "model": model.label,
                "xxh3_128": _digest(read.get(model.label, {})),
                "tensors": len(read.get(model.label, {})),
            }
            for model in plan.models
        ],
        "output": {"params": plan.params, "tensors": len(plan.merges), "xxh3_128": _digest(output)},
        "versions": _versions(),
    }


def _digest(checksums: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {checksums[name]}\n" for name in sorted(checksums))
    return str(xxhash.xxh3_128(lines.encode()).hexdigest())
