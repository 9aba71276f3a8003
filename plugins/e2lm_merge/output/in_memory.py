"""Merges in memory: plan to tensors, and tensors to a model; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import torch

from e2lm.errors import UserError, one_line
from e2lm.one_thread import one_torch_thread
from e2lm_merge.numbers.blocks import TensorMerge, Workspace
from e2lm_merge.numbers.formats import Bytes
from e2lm_merge.numbers.tensor_merge import compiled_for, look_at_all, merge_tensor
from e2lm_merge.numbers.torch_tensors import empty_tensor
from e2lm_merge.plan.merge_plan import MergePlan


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


def empty_model(config: Mapping[str, Any], folder: Path, dtype: torch.dtype) -> Any:
    """A causal language model of transformers made from ``config``, weights not yet set."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if "model_type" not in config:
        raise UserError(f"{folder}: no config.json with a model_type; a merge in memory needs one to build the model")
    try:
        made = AutoConfig.for_model(**config)
        model = AutoModelForCausalLM.from_config(made, dtype=dtype)
    except Exception as error:
        raise UserError(f"{folder}: transformers cannot build the model ({one_line(error)[:200]})") from error
    return model.eval()


def load_tensors(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy ``tensors`` into the live parameters and buffers of ``model``; a :class:`UserError` where names differ.

    A head that is tied to the embedding may be left out.
    """
    own = dict(model.state_dict(keep_vars=True))
    unknown = sorted(set(tensors) - set(own))
    if unknown:
        raise UserError(f"the model has no tensor {unknown[0]!r} ({len(unknown)} such); the config is of another model")
    given = {own[name].data_ptr() for name in tensors}
    missing = [name for name, kept in own.items() if name not in tensors and kept.data_ptr() not in given]
    if missing:
        raise UserError(f"tensor {missing[0]!r} of the model is not in the merge ({len(missing)} such)")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def merged_model(plan: MergePlan, threads: int = 2) -> Any:
    """The merged model, ready to evaluate, in the type of its first tensor; nothing is written."""
    tensors = merged_tensors(plan, threads)
    kind = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    model = empty_model(plan.config, plan.donor.folder, kind)
    load_tensors(model, tensors)
    return model
