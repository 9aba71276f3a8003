"""A run's averaged trajectory as a series beside the run: merged in memory, scored like any other, never written.

Shape suffix: K checkpoints, oldest first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.merge_strategy import MergedCheckpoint, MergeStrategy, TrajectoryMerge, Value, parse_merge_spec
from e2lm.plugin_manager import plugin_manager
from e2lm.series import Series
from e2lm_adapters.scoring.swap import CheckedWeights, ReadAhead

if TYPE_CHECKING:
    from pathlib import Path

    import torch


@dataclass(frozen=True, slots=True)
class MergedSeries:
    """``run`` averaged as ``spec`` says (``wsm:window=5``); ``series`` is what is scored, under a name of its own.

    A checkpoint of ``series`` stands at the folder of the newest checkpoint that went into it.
    """

    run: Series
    spec: str
    series: Series

    def weights(self, checked: Mapping[int, CheckedWeights]) -> dict[int, CheckedWeights]:
        """By step: the tensors of the run's checkpoint, and a hash of the merge and of everything that goes into it.

        ``checked`` are the run's own checkpoints by step. One that is not finite spoils every average from there on.
        """
        _, parameters = parse_merge_spec(self.spec)
        strategy = _strategy(self.spec)
        settled = {**strategy.defaults, **parameters}
        found = {}
        for step, weights_K in _changing_weights(strategy, settled, self.run):
            steps = [checkpoint.step for checkpoint in self.run.checkpoints]
            inputs = [[weight, checked[one].sha256] for one, weight in zip(steps, weights_K, strict=False) if weight]
            before = ((one, checked[one].not_finite) for one in steps if one <= step)
            spoilt = next((f"averaged with step {one}: {why}" for one, why in before if why), "")
            # Along what weights are laid shows in the weights.
            named = {name: value for name, value in settled.items() if name != "over"}
            told = ["merge", strategy.name, named, inputs, *([spoilt] if spoilt else [])]
            text = json.dumps(told, sort_keys=True)
            sha = sha256(text.encode()).hexdigest()
            found[step] = CheckedWeights(checked[step].index, sha, spoilt, checked[step].files)
        return found

    def walk(self, last_step: int) -> Iterator[MergedCheckpoint]:
        """The merged checkpoints up to ``last_step``, in one pass over the weights."""
        _, parameters = parse_merge_spec(self.spec)
        taken = tuple(checkpoint for checkpoint in self.run.checkpoints if checkpoint.step <= last_step)
        return _strategy(self.spec).along(self.run.model_copy(update={"checkpoints": taken}), parameters)

    def shown(self, checkpoint: Checkpoint) -> Checkpoint:
        """``checkpoint`` for people: where it is says that it was merged."""
        return checkpoint.model_copy(update={"path": f"{checkpoint.path} merged by {self.spec}"})


def merged_series(run: Series, spec: str) -> MergedSeries:
    """The series of ``run`` averaged by ``spec``; a :class:`UserError` for an unknown strategy or parameter.

    Steps at which the average stays what it was, such as those nearer than ``min_interval``, are left out.
    """
    _, parameters = parse_merge_spec(spec)
    strategy = _strategy(spec)
    # Checks the parameters at once and reads nothing yet.
    strategy.along(run, parameters)
    settled = {**strategy.defaults, **parameters}
    steps = {step for step, _ in _changing_weights(strategy, settled, run)}
    note = strategy.spacing_note(run.checkpoints, settled)
    if note is not None:
        print(f"e2lm: warning: {run.name}: {note}", file=sys.stderr)
    taken = tuple(checkpoint for checkpoint in run.checkpoints if checkpoint.step in steps)
    name = f"{run.name}+{spec.replace('/', '_')}"
    return MergedSeries(run, spec, run.model_copy(update={"name": name, "checkpoints": taken}))


def with_merges(runs: Sequence[Series], specs: Sequence[str]) -> tuple[MergedSeries, ...]:
    """Every run averaged in every way."""
    return tuple(merged_series(run, spec) for run in runs for spec in specs)


def _strategy(spec: str) -> TrajectoryMerge:
    manager = plugin_manager()
    name, _ = parse_merge_spec(spec)
    found = manager.find("e2lm_register_merge_strategies", MergeStrategy, name, "merge strategy")
    if not isinstance(found, TrajectoryMerge):
        every = manager.all("e2lm_register_merge_strategies", MergeStrategy, "merge strategy")
        able = ", ".join(sorted(one.name for one in every if isinstance(one, TrajectoryMerge)))
        raise UserError(f"--merge {spec}: {name!r} does not average along a run; take one of {able}")
    return found


def _changing_weights(
    strategy: TrajectoryMerge, settled: Mapping[str, Value], run: Series
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Step and weights_K of the average there, wherever it differs from the one before."""
    places = strategy.places(run.checkpoints, settled)
    before: tuple[float, ...] = ()
    for count, checkpoint in enumerate(run.checkpoints, start=1):
        weights_K = strategy.weigh(places[:count], settled)
        if weights_K != (*before, 0.0):
            yield checkpoint.step, weights_K
        before = weights_K


class MergeAhead(ReadAhead):
    """Merges the next checkpoint of a merged series while the current one is scored; they are taken in order."""

    def __init__(self, merged: MergedSeries, pieces: Sequence[Checkpoint]) -> None:
        super().__init__()
        self._merges = merged.walk(max(checkpoint.step for checkpoint in pieces))

    def _read(self, place: Path | Checkpoint) -> dict[str, torch.Tensor]:
        assert isinstance(place, Checkpoint)
        return next(tensors for step, tensors in self._merges if step == place.step)


__all__ = ["MergeAhead", "MergedSeries", "merged_series", "with_merges"]
