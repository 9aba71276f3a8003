"""Curves: one task x metric over the checkpoints of a series; several on common checkpoints; the axis of training.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ItemMetric, Scores, UserError
from e2lm.arrays import Values
from e2lm.errors import nearest_names
from e2lm.results.direction import Directions
from e2lm_signal.official_score import SELECTED_STEP, SELECTED_TOKENS

#: Number of choices of every item of well-known tasks; the first that fits. Tasks whose items differ are absent.
KNOWN_CHOICES = (
    ("*mmlu_pro*", 10),
    ("*generat*", math.inf),
    ("mmlu*", 4),
    ("hendryckstest*", 4),
    ("arc_easy*", 4),
    ("arc_challenge*", 4),
    ("hellaswag*", 4),
    ("openbookqa*", 4),
    ("sciq*", 4),
    ("race*", 4),
    ("logiqa*", 4),
    ("medmcqa*", 4),
    ("gpqa*", 4),
    ("swag*", 4),
    ("commonsense_qa*", 5),
    ("social_iqa*", 3),
    ("siqa*", 3),
    ("anli*", 3),
    ("boolq*", 2),
    ("piqa*", 2),
    ("winogrande*", 2),
    ("copa*", 2),
    ("rte*", 2),
    ("wic*", 2),
    ("wsc*", 2),
    ("blimp*", 2),
    ("storycloze*", 2),
)
#: Metrics that such a guess gets one in so many of.
ACCURACIES = ("acc", "accuracy")


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
        kept = {name for name in present for pattern in patterns if _is_meant(name, pattern)}
        for pattern in patterns:
            if not any(_is_meant(name, pattern) for name in present):
                raise UserError(f"no {column} {pattern!r} in the scores. {nearest_names(pattern, present)}")
        scores = scores.where(**{column: sorted(kept)})
    if not len(scores):
        raise UserError("no scores are left to look at; loosen --series, --tasks or --metrics")
    return scores


def _is_meant(name: str, pattern: str) -> bool:
    """Whether ``pattern`` fits ``name``, or what it is without that which tells it from others: ``arc (shots=5)``."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.partition(" (")[0], pattern)


def official_selection(scores: Scores) -> tuple[Scores, list[str]]:
    """The checkpoints that the competition scores, and sentences that say so."""
    frame = scores.frame
    kept = Scores(
        frame[(frame["step"] % SELECTED_STEP == 0) & (frame["tokens"] <= SELECTED_TOKENS)].reset_index(drop=True)
    )
    before, after = (table.groupby("series")["step"].nunique() for table in (frame, kept.frame))
    if not len(kept):
        raise UserError("the competition's selection (every 4,000th step up to 206 GT) leaves none; --all-checkpoints")
    notes = [
        f"competition layout: only steps divisible by {SELECTED_STEP} up to {SELECTED_TOKENS / 1e9:g} billion tokens "
        f"are scored ({after.max()} of {before.max()} checkpoints), as the competition does; --all-checkpoints scores "
        "all"
    ]
    if few := sorted(str(name) for name in before.index if after.get(name, 0) < after.max()):
        counts = ", ".join(f"{name} {after.get(name, 0)} of {before[name]}" for name in few)
        notes.append(f"fewer of the competition's checkpoints are there of: {counts}")
    return kept, notes


def with_tokens(scores: Scores, tokens: Callable[[float], float], series: Callable[[str], bool]) -> tuple[Scores, int]:
    """The scores with ``tokens(step)`` where tokens are unknown and ``series`` says so, and in how many rows."""
    frame = scores.frame
    lacking = frame["tokens"].isna() & frame["series"].map(series).astype(bool)
    if not lacking.any():
        return scores, 0
    filled = frame["tokens"].where(~lacking, frame["step"].where(lacking).map(tokens, na_action="ignore"))
    return Scores(frame.assign(tokens=filled)), int(lacking.sum())


def curve_groups(
    scores: Scores,
    metrics: Sequence[ItemMetric],
    chances: Mapping[str, float] | None = None,
    directions: Directions | None = None,
) -> Iterator[list[Curve]]:
    """The curves of all series, one list per task x metric, sorted by task, metric and series.

    ``chances``: task name or pattern -> chance level; it wins over what the metric knows of itself.
    ``directions`` say which way is better; without them the metrics do, and names.
    """
    ways = directions or Directions(metrics=tuple(metrics))
    for (task, metric), family in scores.frame.groupby(["task", "metric"], sort=True):
        chance = _chance(str(task), str(metric), metrics, chances or {})
        higher = ways.is_higher_better(str(task), str(metric))
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
                key=str(rows["key"].iloc[0]) if "key" in rows else "",
            )
            for series, rows in family.groupby("series", sort=True)
        ]


def _chance(task: str, metric: str, metrics: Sequence[ItemMetric], chances: Mapping[str, float]) -> float | None:
    """As given for the task; else what the metric gets by guessing whatever the number of choices; else, for
    accuracies, what the choices of a well-known task say; else unknown.
    """
    for pattern, level in chances.items():
        if _is_meant(task, pattern):
            return level
    for known in metrics:
        if known.name == metric and known.chance is not None:
            two, four = (float(level) for level in known.chance(np.asarray([2, 4])))
            if two == four:
                return two
    return usual_chance(task, metric)


def usual_chance(task: str, metric: str) -> float | None:
    """What guessing gets in an accuracy of a well-known task.

    >>> usual_chance("arc:easy", "acc_norm"), usual_chance("arc_easy", "bits_per_byte")
    (0.25, None)
    """
    if metric.partition(",")[0].lower().startswith(ACCURACIES):
        name = task.partition(" (")[0].lower().replace(":", "_").replace("-", "_")
        return next((1.0 / choices for pattern, choices in KNOWN_CHOICES if fnmatchcase(name, pattern)), None)
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


@dataclass(frozen=True, slots=True)
class CommonGrid:
    """``values_MK`` turned so that more is better; ``position_K`` in tokens, or steps where tokens are unknown."""

    series_M: tuple[str, ...]
    position_K: Values
    steps_K: NDArray[np.int64]
    values_MK: Values
    has_tokens: bool

    @property
    def share_K(self) -> Values:
        """Positions as shares of the last one."""
        return np.asarray(self.position_K / self.position_K[-1])


def common_grid(curves: Sequence[Curve], least_series: int = 2) -> CommonGrid | str:
    """The checkpoints (by step) at which every series has a finite value, or why there is no such grid."""
    if len(curves) < least_series:
        return f"{len(curves)} series; at least {least_series} are needed"
    values = [dict(zip(c.steps_K.tolist(), c.values_K.tolist(), strict=True)) for c in curves]
    finite = [{step for step, value in one.items() if np.isfinite(value)} for one in values]
    steps = sorted(set.intersection(*finite))
    if len(steps) < 2 or steps[-1] <= 0:
        return f"the {len(curves)} series share {len(steps)} checkpoints; at least 2 are needed"
    steps_K = np.asarray(steps, dtype=np.int64)
    first = curves[0]
    tokens = dict(zip(first.steps_K.tolist(), first.tokens_K.tolist(), strict=True))
    tokens_K = np.asarray([tokens[step] for step in steps])
    has_tokens = bool(np.isfinite(tokens_K).all() and tokens_K[-1] > 0)
    sign = 1.0 if first.higher_is_better else -1.0
    values_MK = sign * np.asarray([[one[step] for step in steps] for one in values])
    return CommonGrid(
        tuple(curve.series for curve in curves),
        tokens_K if has_tokens else steps_K.astype(np.float64),
        steps_K,
        values_MK,
        has_tokens,
    )


Axis = Literal["tokens", "log-tokens"]

#: The log axis is linear in the first percent of the run, so that step 0 has a place on it.
LINEAR_SHARE = 100.0


def axis_K(curve: Curve, axis: Axis) -> Values:
    """Positions in [0, 1], the last checkpoint at 1: share of the run's tokens, or of their logarithm.

    Steps stand in where tokens are unknown for some checkpoint. A curve of one checkpoint, or with all at 0, lies at
    its index.

    >>> from e2lm_signal.curves import curve_of_values
    >>> axis_K(curve_of_values([0.1, 0.2, 0.3]), "tokens").tolist()
    [0.0, 0.5, 1.0]
    """
    tokens_K = curve.tokens_K if np.isfinite(curve.tokens_K).all() else curve.steps_K.astype(np.float64)
    if tokens_K[-1] <= 0 or (np.diff(tokens_K) <= 0).any():
        return np.linspace(0.0, 1.0, len(tokens_K)) if len(tokens_K) > 1 else np.ones(1)
    share_K = tokens_K / tokens_K[-1]
    if axis == "tokens":
        return np.asarray(share_K, dtype=np.float64)
    return np.asarray(np.log1p(LINEAR_SHARE * share_K) / np.log1p(LINEAR_SHARE))


def trapezoid_weights_K(positions_K: Values) -> Values:
    """The length of axis that each checkpoint stands for: half the way to each neighbour."""
    gaps = np.diff(positions_K)
    weights_K = np.zeros(len(positions_K))
    weights_K[:-1] += gaps / 2.0
    weights_K[1:] += gaps / 2.0
    return weights_K
