"""How many GPUs an engine takes, and who starts its workers: vLLM itself or Ray. Asked before, and without, vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2lm.errors import UserError

#: Arguments of a model whose product is the number of its workers, each with a GPU of its own.
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size")
BACKEND = "distributed_executor_backend"


def engine_gpus(options: Mapping[str, Any]) -> int:
    """GPUs of one engine; a :class:`e2lm.UserError` for a size that is no whole number above 0.

    >>> engine_gpus({"tensor_parallel_size": 2, "pipeline_parallel_size": 3})
    6
    """
    gpus = 1
    for name in PARALLEL:
        size = options.get(name, 1)
        if isinstance(size, bool) or not str(size).isdecimal() or int(size) < 1:
            raise UserError(f"--model-args {name}={size}: expected a whole number, 1 or more")
        gpus *= int(size)
    return gpus


def workers_are_on_ray(options: Mapping[str, Any]) -> bool:
    """Whether the engine's workers are Ray actors, which ask the cluster for a GPU each."""
    return str(options.get(BACKEND)) == "ray"
