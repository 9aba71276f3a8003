"""What the arms are judged by, as numbers per seed, checkpoint and item.

Shape suffixes: S seeds, K checkpoints, I items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.arrays import Values
from e2lm.errors import UserError
from e2lm.samples import SAMPLES_FOLDER, Samples, read_samples
from e2lm.scores import Scores
from e2lm_curriculum.compare.held_out import HeldOutPassages, read_held_out, trivial_bits_per_byte
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.config.comparison import HELD_OUT

Cell = tuple[str, str]

SCORES_FOLDER = "scores"

#: Sums of float32 log-likelihoods that are closer than this, relatively, are ties: they would change places with the
#: order of additions.
TIE = 1e-6

#: Metrics of a task that need no model, by the name the report gives them.
TRIVIAL_METRICS = {"acc_constant": "constant", "acc_unigram": "unigram"}


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of all runs: ``values`` holds [S, K, I] per (arm, schedule); the mean over items is the score.

    ``seeds`` are those that every arm of a schedule has; ``baselines`` what needs no training, by name.
    """

    name: str
    unit: str
    higher_is_better: bool
    tokens_K: tuple[float, ...]
    values: Mapping[Cell, Values]
    seeds: Mapping[str, tuple[int, ...]]
    baselines: Mapping[str, float] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """Passages or pairs."""
        return int(next(iter(self.values.values())).shape[2])


def shared_seeds(runs: Sequence[FinishedRun]) -> dict[str, tuple[int, ...]]:
    """Per schedule the seeds that all of its arms have; a :class:`UserError` where that is fewer than two."""
    found = {}
    for schedule in sorted({run.schedule for run in runs}):
        of_arm: dict[str, set[int]] = {}
        for run in runs:
            if run.schedule == schedule:
                of_arm.setdefault(run.arm, set()).add(run.seed)
        seeds = tuple(sorted(set.intersection(*of_arm.values())))
        if len(seeds) < 2:
            counts = ", ".join(f"{arm} {len(own)}" for arm, own in of_arm.items())
            raise UserError(
                f"schedule {schedule}: {len(seeds)} seeds are in every arm ({counts}); at least 2 are needed, "
                "5 are recommended"
            )
        found[schedule] = seeds
    return found


def tokens_of(runs: Sequence[FinishedRun]) -> tuple[float, ...]:
    """The checkpoints, in tokens, that all runs have in common place; a :class:`UserError` where grids differ."""
    grids = {tuple(float(point.tokens or 0) for point in run.series.checkpoints): run for run in runs}
    if len(grids) > 1:
        one, other = list(grids.values())[:2]
        raise UserError(f"{other.folder}: checkpoints at other tokens than in {one.folder}; compare runs of one grid")
    return next(iter(grids))


def held_out_measure(runs: Sequence[FinishedRun], text: HeldOutPassages) -> Measure:
    """Bits per byte, pseudo-bits under masked models.

    Values are bits of a passage over the mean bytes of passages, so that their mean is pooled.
    """
    per_byte = np.log(2) * text.bytes_I.mean()
    return _measure(
        HELD_OUT,
        "bits per byte" if runs[0].is_causal else "pseudo-bits per byte",
        False,
        runs,
        {run.series_folder: read_held_out(run, text) / per_byte for run in runs},
        trivial_bits_per_byte(runs[0], text),
    )


def task_measures(runs: Sequence[FinishedRun], scores: Path) -> list[Measure]:
    """Accuracy of every multiple-choice task that ``e2lm eval`` scored into ``scores``; ties share the point."""
    _require_names(runs, scores)
    by_key: dict[tuple[str, str, int], Samples] = {
        (one.series, one.task, one.step): one for one in read_samples(scores / SAMPLES_FOLDER)
    }
    trivial = _trivial_accuracies(scores)
    found = []
    for task in sorted({task for _, task, _ in by_key}):
        values = {}
        for run in runs:
            rows = []
            for point in run.series.checkpoints:
                samples = by_key.get((run.series.name, task, point.step))
                if samples is None:
                    raise UserError(f"{scores}: task {task!r} has no samples of {run.series.name} at step {point.step}")
                rows.append(accuracy_with_ties_I(samples))
            values[run.series_folder] = np.stack(rows)
        choices = next(one for (_, name, _), one in by_key.items() if name == task).choices.there_IC
        baselines = {"constant": float((1 / choices.sum(axis=1)).mean()), **trivial.get(task, {})}
        found.append(_measure(task, "accuracy", True, runs, values, baselines))
    return found


def _require_names(runs: Sequence[FinishedRun], scores: Path) -> None:
    """A :class:`UserError` where two runs have one name: Samples are known by it, and both would get those of one."""
    names = Counter(run.series.name for run in runs)
    for name, count in names.items():
        if count > 1:
            raise UserError(
                f"{scores}: {count} runs are called {name!r}, so their scores cannot be told apart; give each a "
                "'label' in its configuration, or compare without scores"
            )


def accuracy_with_ties_I(samples: Samples) -> Values:
    """1 where true choices alone are likeliest, 1/k where one is so with k - 1 others, else 0."""
    loglik_IC = np.where(samples.choices.there_IC, samples.choices.loglik_IC, -np.inf)
    best_I1 = loglik_IC.max(axis=1, keepdims=True)
    tied_IC = loglik_IC >= best_I1 - TIE * np.abs(best_I1)
    return np.asarray((tied_IC & samples.choices.gold_IC).sum(axis=1) / tied_IC.sum(axis=1))


def _trivial_accuracies(scores: Path) -> dict[str, dict[str, float]]:
    """What a task itself says about models that know no language."""
    import pandas as pd

    file = scores / "scores.parquet"
    if not file.is_file():
        return {}
    frame = Scores.from_frame(pd.read_parquet(file), str(file)).frame
    found: dict[str, dict[str, float]] = {}
    rows: Any = frame[frame["metric"].isin(TRIVIAL_METRICS)].groupby(["task", "metric"])["value"].first()
    for (task, metric), value in rows.items():
        found.setdefault(str(task), {})[TRIVIAL_METRICS[str(metric)]] = float(value)
    return found


def _measure(
    name: str,
    unit: str,
    higher_is_better: bool,
    runs: Sequence[FinishedRun],
    values: Mapping[Path, Values],
    baselines: Mapping[str, float],
) -> Measure:
    seeds = shared_seeds(runs)
    used = [run for run in runs if run.seed in seeds[run.schedule]]
    stacked = {
        # By seed: row s of one arm is paired with row s of another.
        cell: np.stack([values[run.series_folder] for run in sorted(used, key=_seed_of) if run.cell == cell])
        for cell in dict.fromkeys(run.cell for run in used)
    }
    return Measure(name, unit, higher_is_better, tokens_of(runs), stacked, seeds, baselines)


def _seed_of(run: FinishedRun) -> int:
    return run.seed
