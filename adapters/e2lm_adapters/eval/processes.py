"""Spreads checkpoints over processes of this machine, each with GPUs of its own, which end when this one does.

Units are idempotent, so a lost process costs its own only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from e2lm.child_process import end_with_parent
from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm_adapters.eval.request import EvaluationRequest, Work, key_of
from e2lm_adapters.eval.store import EvaluationStore
from e2lm_adapters.lm_eval.tasks import LoadedTasks
from e2lm_adapters.vllm.devices import engine_gpus, workers_are_on_ray

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
#: How often finished checkpoints are looked for, for the progress bar.
POLL_S = 0.3


def evaluate_in_processes(
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
    work: Sequence[Work],
    on_done: Callable[[Work], object],
) -> None:
    """Do ``work`` in ``request.jobs`` processes that share the cores; ``on_done`` is called in this one."""
    plugin_files = tuple(record.path for record in plugin_manager().records if record.path is not None)
    waiting = list(work)
    parts = shares(work, request.jobs)
    gpus = gpus_of_processes(request, len(parts))
    own_request = replace(request, jobs=1, quiet=True, task_hashes=tasks.hashes)
    with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        futures = [
            pool.submit(_evaluate_share, own_request, part, plugin_files, len(parts), own)
            for part, own in zip(parts, gpus, strict=True)
        ]
        running: set[Future[None]] = set(futures)
        while running:
            finished, running = wait(running, timeout=POLL_S, return_when=FIRST_EXCEPTION)
            waiting = _reported(request, tasks, store, waiting, on_done)
            for future in finished:
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise UserError(
                        "an evaluation process died (killed, or out of memory); what it finished is kept, "
                        "the same command goes on, --jobs 1 needs the least memory"
                    ) from error
        _reported(request, tasks, store, waiting, on_done)


def gpus_of_processes(request: EvaluationRequest, processes: int) -> list[str | None]:
    """What ``CUDA_VISIBLE_DEVICES`` is in each of so many processes; None where it stays as it is: no GPU is used.

    Raises :class:`e2lm.UserError` where there are fewer GPUs than they take, or ``--device`` names one for all.
    """
    device = request.device or ""
    visible = () if processes < 2 or device.startswith("cpu") else visible_gpus()
    if not visible:
        return [None] * processes
    each = engine_gpus(request.model_arguments)
    if ":" in device:
        raise UserError(f"--device {device} with --jobs {request.jobs}: each process takes GPUs of its own; say which "
                        f"by {VISIBLE_GPUS}, or leave one of the two out")  # fmt: skip
    if workers_are_on_ray(request.model_arguments):
        raise UserError(f"--jobs {request.jobs}: engines on Ray share their GPUs out by --executor ray only; add it")
    if processes * each > len(visible):
        raise UserError(
            f"--jobs {request.jobs}: {processes} processes take {processes * each} GPUs, and {len(visible)} are visible"
            f"; say --jobs {max(len(visible) // each, 1)}, or --device cpu"
        )
    return [",".join(visible[k * each : (k + 1) * each]) for k in range(processes)]


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them: indices, or what the user set."""
    import torch

    count = torch.cuda.device_count()
    chosen = os.environ.get(VISIBLE_GPUS)
    names = map(str, range(count)) if chosen is None else (name.strip() for name in chosen.split(","))
    return tuple(names)[:count]


def shares(work: Sequence[Work], jobs: int) -> list[list[Work]]:
    """``work`` in at most ``jobs`` consecutive shares of about the same cost (parameters times tasks)."""
    costs = [piece.series.params * len(piece.missing) for piece in work]
    whole, so_far = sum(costs), 0.0
    parts: list[list[Work]] = [[] for _ in range(jobs)]
    for piece, cost in zip(work, costs, strict=True):
        parts[min(int((so_far + cost / 2) * jobs / whole), jobs - 1)].append(piece)
        so_far += cost
    return [part for part in parts if part]


def _reported(
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
    waiting: list[Work],
    on_done: Callable[[Work], object],
) -> list[Work]:
    """Call ``on_done`` for what has been finished since; gives the rest."""
    rest = []
    for piece in waiting:
        keys = [key_of(request, piece.weights, tasks.facts, name) for name in piece.missing]
        if all(store.unit_path(piece.series.name, piece.checkpoint.step, key).is_file() for key in keys):
            on_done(piece)
        else:
            rest.append(piece)
    return rest


def _evaluate_share(
    request: EvaluationRequest, share: list[Work], plugin_files: tuple[Path, ...], jobs: int, gpus: str | None
) -> None:
    """What one process does: see its own GPUs alone, load everything itself, then do its share."""
    if gpus is not None:
        os.environ[VISIBLE_GPUS] = gpus  # read when CUDA starts, which is later
    import torch

    from e2lm_adapters.eval.evaluator import evaluate_here
    from e2lm_adapters.lm_eval.tasks import load_tasks

    torch.set_num_threads(max((os.cpu_count() or jobs) // jobs, 1))
    quiet_libraries(quiet=True)
    for path in plugin_files:
        plugin_manager().load_file(path)
    tasks = load_tasks(
        request.tasks, request.include_paths, request.num_fewshot, request.limit, request.model_arguments
    )
    changed = [name for name, one in request.task_hashes.items() if tasks.hashes.get(name) != one]
    if changed:
        raise UserError(f"task {changed[0]!r} was changed while it was being evaluated; the same command goes on")
    evaluate_here(request, tasks, EvaluationStore(request.out), share, lambda piece: None)


def quiet_libraries(quiet: bool) -> None:
    """One progress bar, not five: libraries report warnings only."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lm_eval", "transformers", "datasets", "accelerate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR if quiet else logging.WARNING)
    # Of groups whose tasks are of several kinds, at every checkpoint; scores here are by task.
    logging.getLogger("lm_eval.api.group").setLevel(logging.ERROR)
    from datasets.utils.logging import disable_progress_bar
    from transformers.utils import logging as transformers_logging

    disable_progress_bar()
    transformers_logging.disable_progress_bar()
