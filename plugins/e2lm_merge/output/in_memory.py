"""Merges in memory: plan to tensors, and tensors to a model; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import torch

from e2lm.errors import UserError, one_line
from e2lm.live_weights import model_of
from e2lm.one_thread import one_torch_thread
from e2lm_merge.numbers.blocks import TensorMerge, Workspace
from e2lm_merge.numbers.formats import Bytes
from e2lm_merge.numbers.tensor_merge import compiled_for, look_at_all, merge_tensor
from e2lm_merge.numbers.torch_tensors import empty_tensor
from e2lm_merge.plan.merge_plan import MergePlan
from e2lm_merge.plan.source import config_of_class


def merged_tensors(plan: MergePlan, threads: int = 2) -> dict[str, torch.Tensor]:
    """Every output tensor of ``plan`` by name: the same bits as a merge into a folder writes."""
    own = local()
    with one_torch_thread():
        found = look_at_all(plan.merges)
    compiled = compiled_for(plan.merges)

    def work_on(merge: TensorMerge) -> tuple[str, torch.Tensor]:
        if not hasattr(own, "workspace"):
            own.workspace = Workspace(compiled)
        tensor, memory = empty_tensor(merge.shape, merge.dtype)

        def sink(start: int, bytes_: Bytes) -> None:
            memory[start : start + len(bytes_)] = bytes_

        with one_torch_thread():
            merge_tensor(merge, own.workspace, sink, found)
        return merge.name, tensor

    order = sorted(plan.merges, key=lambda merge: (-merge.nbytes, merge.name))
    try:
        with ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="merge") as pool:
            done = dict(pool.map(work_on, order))
    finally:
        plan.files.close()
    return {merge.name: done[merge.name] for merge in plan.merges}


def model_with(config: Mapping[str, Any], folder: Path, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The causal model of ``config`` with ``tensors``, in the type of the first of them, as transformers loads them.

    ``folder`` is named where that cannot be.
    """
    if "model_type" not in config:
        raise UserError(f"{folder}: no config.json with a model_type; a merge in memory needs one to build the model")
    try:
        made = config_of_class(config)
    except Exception as error:
        raise UserError(f"{folder}: transformers cannot read the config ({one_line(error)[:200]})") from error
    kind = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    return model_of(made, tensors, folder, dtype=kind)


def merged_model(plan: MergePlan, threads: int = 2) -> Any:
    """The merged model, ready to evaluate, in the type of its first tensor; nothing is written."""
    return model_with(plan.config, plan.donor.folder, merged_tensors(plan, threads))
