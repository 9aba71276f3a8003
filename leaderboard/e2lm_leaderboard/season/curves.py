"""Curves of a submission over the organiser's checkpoints, from the Samples that ``e2lm eval`` left.

Shape suffixes: K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ItemMetric, Samples
from e2lm.errors import E2LMError
from e2lm.interval import mean_stderrs_K


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What Samples do not say of a series: its size, and the tokens at each step."""

    params: float
    tokens_at: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class SampleMetric:
    """One number per item of the Samples of a checkpoint, and what is known of such numbers."""

    name: str
    values: Callable[[Samples], NDArray[np.float64]]
    higher_is_better: bool = True
    chance: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None

    @classmethod
    def of_metric(cls, metric: ItemMetric) -> SampleMetric:
        """Those of an installed metric."""
        return cls(metric.name, lambda one: metric.values(one.choices), metric.higher_is_better, metric.chance)


def item_curves(samples: Sequence[Samples], metric: SampleMetric, facts: Mapping[str, RunFacts]) -> list[Curve]:
    """One curve with ``items_KI`` per task and series, sorted so; every checkpoint must have the same items."""
    grouped: dict[tuple[str, str], list[Samples]] = {}
    for one in samples:
        grouped.setdefault((one.task, one.series), []).append(one)
    return [_curve(grouped[key], metric, facts[key[1]]) for key in sorted(grouped)]


def _curve(samples: list[Samples], metric: SampleMetric, facts: RunFacts) -> Curve:
    ordered = sorted(samples, key=lambda one: one.step)
    for one in ordered[1:]:
        if not np.array_equal(one.doc_ids_I, ordered[0].doc_ids_I):
            raise E2LMError(f"task {one.task!r}: step {one.step} of {one.series!r} has other items than the first")
    items_KI = np.stack([metric.values(one) for one in ordered])
    chance = None
    if metric.chance is not None:
        chance = float(np.mean(metric.chance(ordered[0].choices.there_IC.sum(axis=1))))
    steps = [one.step for one in ordered]
    return with_items(
        Curve(
            series=ordered[0].series,
            task=ordered[0].task,
            metric=metric.name,
            steps_K=np.asarray(steps, dtype=np.int64),
            tokens_K=np.asarray([facts.tokens_at.get(step, np.nan) for step in steps], dtype=np.float64),
            values_K=np.zeros(len(steps)),
            stderr_K=np.zeros(len(steps)),
            n_items_K=np.zeros(len(steps), dtype=np.int64),
            params=facts.params,
            chance=chance,
            higher_is_better=metric.higher_is_better,
        ),
        items_KI,
    )


def with_items(curve: Curve, items_KI: NDArray[np.float64]) -> Curve:
    """The curve of these items: means and their standard errors."""
    n = items_KI.shape[1]
    return replace(
        curve,
        values_K=items_KI.mean(axis=1) if n else np.full(len(items_KI), np.nan),
        stderr_K=mean_stderrs_K(items_KI),
        n_items_K=np.full(len(items_KI), n, dtype=np.int64),
        items_KI=items_KI,
    )


def cut(curve: Curve, wanted_I: NDArray[np.bool_], until_tokens: float | None) -> Curve:
    """The curve over some of the items, and over checkpoints up to ``until_tokens`` where that is given."""
    shorter = curve.until(until_tokens)  # where tokens are unknown nothing can be hidden
    assert shorter.items_KI is not None
    return with_items(shorter, shorter.items_KI[:, wanted_I])
