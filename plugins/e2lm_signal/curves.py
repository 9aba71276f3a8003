"""Curves: the values of one task x metric over the checkpoints of one series, taken out of a Scores table.

Shape suffixes: K checkpoints of one series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from e2lm import Curve, ItemMetric, Scores, UserError
from e2lm.errors import nearest_names
from e2lm_signal.official_score import SELECTED_STEP, SELECTED_TOKENS

#: Metrics that other programs report and of which less is better.
LOWER_IS_BETTER = (
    "ppl",
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
    "bpb",
    "loss",
    "nll",
    "brier_score",
    "mean_gold_loss",
    "gold_loss",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which curves to take; empty means all. Each is a list of names or shell patterns (``dense-*-arch1``)."""

    series: Sequence[str] = ()
    tasks: Sequence[str] = ()
    metrics: Sequence[str] = ()


def chosen_scores(scores: Scores, wanted: Wanted) -> Scores:
    """The rows that ``wanted`` names; a pattern that fits nothing is a :class:`UserError`."""
    for column, patterns in (("series", wanted.series), ("task", wanted.tasks), ("metric", wanted.metrics)):
        if not patterns:
            continue
        present = sorted(scores.frame[column].unique())
        kept = {name for name in present for pattern in patterns if fnmatchcase(name, pattern)}
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in present):
                raise UserError(f"no {column} {pattern!r} in the scores. {nearest_names(pattern, present)}")
        scores = scores.where(**{column: sorted(kept)})
    if not len(scores):
        raise UserError("no scores are left to look at; loosen --series, --tasks or --metrics")
    return scores


def official_selection(scores: Scores) -> tuple[Scores, str]:
    """The checkpoints that the competition scores, and a sentence that says so."""
    frame = scores.frame
    kept = Scores(
        frame[(frame["step"] % SELECTED_STEP == 0) & (frame["tokens"] <= SELECTED_TOKENS)].reset_index(drop=True)
    )
    before, after = (table.groupby("series")["step"].nunique().max() for table in (frame, kept.frame))
    if not len(kept):
        raise UserError("the competition's selection (every 4,000th step up to 206 GT) leaves none; --all-checkpoints")
    note = (
        f"competition layout: only steps divisible by {SELECTED_STEP} up to {SELECTED_TOKENS / 1e9:g} billion tokens "
        f"are scored ({after} of {before} checkpoints), as the competition does; --all-checkpoints scores all"
    )
    return kept, note


def is_higher_better(metric: str, metrics: Iterable[ItemMetric]) -> bool:
    """Whether more of ``metric`` is better: as registered, else by its usual name."""
    name = metric.partition(",")[0]
    for known in metrics:
        if known.name == name:
            return known.higher_is_better
    return name.lower() not in LOWER_IS_BETTER


def curve_groups(
    scores: Scores, metrics: Sequence[ItemMetric], chances: Mapping[str, float] | None = None
) -> Iterator[list[Curve]]:
    """The curves of all series, one list per task x metric, sorted by task, metric and series.

    ``chances``: task name or pattern -> chance level; it wins over what the metric knows of itself.
    """
    for (task, metric), family in scores.frame.groupby(["task", "metric"], sort=True):
        chance = _chance(str(task), str(metric), metrics, chances or {})
        higher = is_higher_better(str(metric), metrics)
        yield [
            Curve(
                series=str(series),
                task=str(task),
                metric=str(metric),
                steps_K=rows["step"].to_numpy(np.int64),
                tokens_K=rows["tokens"].to_numpy(np.float64),
                values_K=rows["value"].to_numpy(np.float64),
                stderr_K=rows["stderr"].to_numpy(np.float64),
                n_items_K=rows["n"].to_numpy(np.int64),
                params=float(rows["params"].iloc[0]),
                chance=chance,
                higher_is_better=higher,
            )
            for series, rows in family.groupby("series", sort=True)
        ]


def _chance(task: str, metric: str, metrics: Sequence[ItemMetric], chances: Mapping[str, float]) -> float | None:
    """As given for the task; else what the metric gets by guessing whatever the number of choices; else unknown."""
    for pattern, level in chances.items():
        if fnmatchcase(task, pattern):
            return level
    for known in metrics:
        if known.name == metric and known.chance is not None:
            two, four = (float(level) for level in known.chance(np.asarray([2, 4])))
            return two if two == four else None
    return None


def curve_of_values(values: Sequence[float], **changes: Any) -> Curve:
    """A curve with steps 0, 1, 2, ... and nothing else known; ``changes`` are fields of :class:`Curve`.

    >>> curve_of_values([0.25, 0.5]).steps_K.tolist()
    [0, 1]
    """
    count = len(values)
    unknown_K = np.full(count, np.nan)
    fields: dict[str, Any] = {
        "series": "series",
        "task": "task",
        "metric": "acc",
        "steps_K": np.arange(count),
        "tokens_K": unknown_K,
        "values_K": np.asarray(values, dtype=np.float64),
        "stderr_K": unknown_K,
        "n_items_K": np.zeros(count, dtype=np.int64),
    }
    return Curve(**{**fields, **changes})
