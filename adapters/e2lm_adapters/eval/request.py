"""What is to be evaluated, as a whole and checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from e2lm.checkpoint import Checkpoint
from e2lm.run_record import LeftOut
from e2lm.series import Series
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.eval.address import Parts, unit_key, unit_parts
from e2lm_adapters.eval.merged import MergedSeries
from e2lm_adapters.eval.store import Unit, adapter_label
from e2lm_adapters.lm_eval.task_code import hash_of
from e2lm_adapters.lm_eval.tasks import TaskIdentities
from e2lm_adapters.scoring.swap import CheckedWeights

#: By name of the series and step.
WeightsOf = dict[tuple[str, int], CheckedWeights]

#: Raised when the same model and task could come out with other numbers: units of earlier versions are done again.
SCORING_VERSION = "2"


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Which Ray cluster does the work, with how many workers of which size; None: what there is.

    ``engine_gpus`` is what the model of a worker takes where there are GPUs, 0 where it is to run on the CPU. With
    ``engine_on_ray`` it does not take them itself: its own workers are Ray actors, which ask for one each.
    """

    address: str | None = None
    workers: int | None = None
    worker_cpus: float = 1.0
    worker_gpus: float | None = None
    engine_gpus: int = 1
    engine_on_ray: bool = False


@dataclass(frozen=True, slots=True)
class InMemory:
    """A model that is in this process already: ``build(folder)`` gives it as lm-eval's, with the weights of ``folder``.

    ``folder`` holds them for the moment only; ``run`` is where its trainer keeps its checkpoints.
    """

    build: Callable[[Path], Any]
    run: Path

    def shown(self, checkpoint: Checkpoint) -> Checkpoint:
        """``checkpoint`` for people: where its trainer would save it."""
        return checkpoint.model_copy(update={"path": str(self.run / checkpoint.label)})


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What ``e2lm eval`` was asked for; the series of ``merged`` are among ``series``.

    ``tasks_per_unit`` tasks (None: all) of a checkpoint are scored together, here as on a cluster: what shares a batch
    can change the last bits of a log-likelihood.
    """

    series: tuple[Series, ...]
    tasks: tuple[str, ...]
    out: Path
    model: str = "e2lm-hf"
    model_arguments: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    num_fewshot: int | None = None
    include_paths: tuple[Path, ...] = ()
    metrics: tuple[str, ...] | None = None
    batch_size: int | str = 1
    device: str | None = None
    write_lm_eval_files: bool = True
    jobs: int = 1
    quiet: bool = False
    source: CheckpointSource = field(default_factory=CheckpointSource)
    ray: RayOptions | None = None
    tasks_per_unit: int | None = None
    merged: tuple[MergedSeries, ...] = ()
    #: Checkpoints of the runs that cannot be read, with why.
    unread: tuple[LeftOut, ...] = ()
    #: What all units of this command have in common; told to workers, whatever they have installed.
    surroundings: Parts = field(default_factory=dict)
    #: Of the tasks, for processes that load them again.
    task_hashes: dict[str, str] = field(default_factory=dict)
    #: The model of a training that goes on; None: models are read from the folders of the checkpoints.
    in_memory: InMemory | None = None

    @property
    def adapter(self) -> str:
        """The way of scoring as text: whatever of it can change a number."""
        settings = {**self.model_arguments, "num_fewshot": self.num_fewshot}
        return adapter_label(self.model, SCORING_VERSION, settings)

    def merge_of(self, series: Series) -> MergedSeries | None:
        """How ``series`` is made of a run; None for a run itself."""
        return next((one for one in self.merged if one.series.name == series.name), None)

    def shown(self, series: Series, checkpoint: Checkpoint) -> Checkpoint:
        """``checkpoint`` as people know it: merged, or where its trainer saves it."""
        merge = self.merge_of(series)
        if merge is not None:
            return merge.shown(checkpoint)
        return checkpoint if self.in_memory is None else self.in_memory.shown(checkpoint)


@dataclass(frozen=True, slots=True)
class Work:
    """A checkpoint and which of its tasks are still to be done."""

    series: Series
    checkpoint: Checkpoint
    weights: CheckedWeights
    missing: tuple[str, ...]


def unit_count(tasks: int, tasks_per_unit: int | None) -> int:
    """Units of a checkpoint that is scored on ``tasks`` tasks."""
    return 1 if tasks_per_unit is None else -(-tasks // tasks_per_unit)


def unit_of(piece: Work, names: Sequence[str], tasks_per_unit: int | None, number: int) -> Work | None:
    """Unit ``number`` of ``piece``: a shard of ``names``, less what is done; None where all of it is.

    Shards are cut from all tasks, not from the missing ones, so that a resumed run scores together what a straight one
    does.
    """
    width = len(names) if tasks_per_unit is None else tasks_per_unit
    missing = set(piece.missing)
    shard = tuple(name for name in names[number * width : (number + 1) * width] if name in missing)
    return replace(piece, missing=shard) if shard else None


def units_of(piece: Work, names: Sequence[str], tasks_per_unit: int | None) -> list[Work]:
    """All units of ``piece`` of which something is missing."""
    found = (unit_of(piece, names, tasks_per_unit, k) for k in range(unit_count(len(names), tasks_per_unit)))
    return [unit for unit in found if unit is not None]


def parts_of(request: EvaluationRequest, weights: CheckedWeights, tasks: TaskIdentities, name: str) -> Parts:
    """What the unit of the task ``name`` is known by, on the checkpoint with ``weights``."""
    return unit_parts(weights.sha256, weights.files, tasks.parts[name], request.surroundings, name in tasks.generating)


def key_of(request: EvaluationRequest, weights: CheckedWeights, tasks: TaskIdentities, name: str) -> str:
    """The key of the same unit."""
    return unit_key(parts_of(request, weights, tasks, name))


def new_unit(request: EvaluationRequest, piece: Work, tasks: TaskIdentities, name: str, **facts: Any) -> Unit:
    """The record of the task ``name`` on the checkpoint of ``piece``; ``facts`` are what came out."""
    return Unit(
        series=piece.series.name,
        step=piece.checkpoint.step,
        task=name,
        weights_sha256=piece.weights.sha256,
        task_sha256=hash_of(tasks.parts[name]),
        adapter=request.adapter,
        parts=parts_of(request, piece.weights, tasks, name),
        limit=request.limit,
        **facts,
    )


def not_finite_units(
    request: EvaluationRequest, piece: Work, tasks: TaskIdentities, why: str, is_unusable: bool = False
) -> list[tuple[Unit, None]]:
    """What is recorded of a checkpoint whose numbers are not finite, or of which no model can be made: no Samples."""
    facts = {"n": 0, "not_finite": why, "is_unusable": is_unusable}
    return [(new_unit(request, piece, tasks, name, **facts), None) for name in piece.missing]
