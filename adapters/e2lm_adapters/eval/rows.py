"""How what is on disk of a checkpoint becomes rows: lm-eval's metrics, item metrics, and groups of tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from e2lm.checkpoint import Checkpoint
from e2lm.item_metric import ItemMetric
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, chance_of, scored_samples
from e2lm.series import Series
from e2lm_adapters.eval.remembered_rows import RememberedRows
from e2lm_adapters.eval.store import EvaluationStore, Unit
from e2lm_adapters.lm_eval.tasks import GroupFacts

#: lm-eval's name of "no filter", which metrics do not carry.
NO_FILTER = "none"


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes rows of units: ``metrics`` are those asked for, ``known`` all there are, which tell what guessing gets."""

    store: EvaluationStore
    metrics: Sequence[ItemMetric]
    known: Sequence[ItemMetric]
    groups: Sequence[GroupFacts]
    remembered: RememberedRows

    def rows(self, series: Series, checkpoint: Checkpoint, units: Iterable[Unit]) -> list[ScoreRow]:
        """The rows of one checkpoint: its tasks, then the groups all of whose tasks are there."""
        rows: list[ScoreRow] = []
        by_task: dict[str, tuple[Unit, list[ScoreRow]]] = {}
        for unit in units:
            own = self._of_task(series, checkpoint, unit)
            by_task[unit.task] = (unit, own)
            rows += own
        for group in self.groups:
            rows += group_rows(group, by_task)
        return rows

    def _of_task(self, series: Series, checkpoint: Checkpoint, unit: Unit) -> list[ScoreRow]:
        there = self.remembered.of(unit)
        if there is None:
            return score_rows(series, checkpoint, unit, self.store.samples(unit), self.metrics, self.known)
        like = _like(series, checkpoint, unit)
        own = ((one.metric, one.value, one.stderr, one.n, one.chance) for one in there)
        return [
            replace(like, metric=metric, value=value, stderr=stderr, n=n, chance=chance)
            for metric, value, stderr, n, chance in own
        ]


def _like(series: Series, checkpoint: Checkpoint, unit: Unit) -> ScoreRow:
    """A row of ``unit`` without a metric."""
    tokens = series.tokens_at(checkpoint)
    return ScoreRow(
        series=series.name,
        step=checkpoint.step,
        task=unit.task,
        metric="",
        value=math.nan,
        params=float(series.params),
        tokens=tokens,
        flops=series.flops(tokens),
        n=unit.n,
        params_active=math.nan if series.params_active is None else float(series.params_active),
    )


def score_rows(
    series: Series,
    checkpoint: Checkpoint,
    unit: Unit,
    samples: Samples | None,
    metrics: Iterable[ItemMetric],
    known: Iterable[ItemMetric] = (),
) -> list[ScoreRow]:
    """The rows of one task at one checkpoint: lm-eval's metrics, then item metrics it does not have."""
    like = _like(series, checkpoint, unit)
    guessed = _guessed(unit, samples, known)
    rows = [
        replace(
            like,
            metric=one.metric,
            value=one.value,
            stderr=math.nan if one.stderr is None else one.stderr,
            chance=guessed.get(one.metric, math.nan),
        )
        for one in unit.stock_metrics
    ]
    return rows if samples is None else rows + scored_samples(samples, metrics, like, {row.metric for row in rows})


def _guessed(unit: Unit, samples: Samples | None, known: Iterable[ItemMetric]) -> dict[str, float]:
    """What guessing gets by lm-eval's metrics that are also item metrics, where Samples have every item they count."""
    if samples is None or len(samples) != unit.n:
        return {}
    names = {one.metric for one in unit.stock_metrics}
    return {metric.name: chance_of(metric, samples) for metric in known if metric.name in names}


def group_rows(group: GroupFacts, by_task: Mapping[str, tuple[Unit, Sequence[ScoreRow]]]) -> list[ScoreRow]:
    """One row for each aggregate of ``group``, weighted as lm-eval does; none where a number of a task is missing."""
    if spoilt_by(group, [unit for unit, _ in by_task.values()]) or not all(name in by_task for name in group.tasks):
        return []
    leaves = [by_task[name] for name in group.tasks]
    rows = []
    for metric, filters, by_size in group.aggregates:
        for name in _names(metric, filters, leaves):
            found = [(unit, row) for unit, own in leaves for row in own if row.metric == name and _is_stock(unit, name)]
            sizes = [unit.n if by_size else 1 for unit, _ in found]
            if found and sum(sizes) and not any(_is_no_number(unit, name) for unit, _ in leaves):
                counts = [unit.n for unit, _ in found]
                stderrs = [row.stderr for _, row in found]
                stderr = pooled_stderr(stderrs, counts) if by_size else mean_of_stderrs(stderrs)
                rows.append(_group_row(group.name, [row for _, row in found], counts, sizes, stderr))
    return rows


def spoilt_by(group: GroupFacts, units: Iterable[Unit]) -> list[str]:
    """Tasks of ``group`` whose numbers are not finite: lm-eval's value would be NaN."""
    return [unit.task for unit in units if unit.task in group.tasks and unit.not_finite]


def _is_no_number(unit: Unit, name: str) -> bool:
    return any(line.startswith(f"{name} is ") and line.endswith(": no row") for line in unit.left_out)


def _is_stock(unit: Unit, name: str) -> bool:
    return any(one.metric == name for one in unit.stock_metrics)


def _names(
    metric: str, filters: tuple[str, ...] | None, leaves: Sequence[tuple[Unit, Sequence[ScoreRow]]]
) -> list[str]:
    """Our names of ``metric`` under each filter; those that any task has where none is asked for."""
    if filters is None:
        there = (one.metric.partition(",") for unit, _ in leaves for one in unit.stock_metrics)
        filters = tuple(sorted({name or NO_FILTER for own, _, name in there if own == metric}))
    return [metric if one == NO_FILTER else f"{metric},{one}" for one in filters]


def _group_row(
    name: str, rows: Sequence[ScoreRow], counts: Sequence[int], sizes: Sequence[int], stderr: float
) -> ScoreRow:
    """In lm-eval's own order of operations: the same bits."""
    value = sum([row.value * size for row, size in zip(rows, sizes, strict=True)]) / sum(sizes)
    chance = sum([row.chance * size for row, size in zip(rows, sizes, strict=True)]) / sum(sizes)
    return replace(rows[0], task=name, value=value, stderr=stderr, n=sum(counts), chance=chance)


def pooled_stderr(stderrs: Sequence[float], counts: Sequence[int]) -> float:
    """Of the mean over all items of several tasks, from each task's (``lm_eval.api.metrics.pooled_sample_stderr``)."""
    freedom = sum(counts) - len(counts)
    if not freedom:
        return math.nan
    squares = [(count - 1) * stderr**2 * count for count, stderr in zip(counts, stderrs, strict=True)]
    return float(np.sqrt(sum(squares) / freedom / sum(counts)))


def mean_of_stderrs(stderrs: Sequence[float]) -> float:
    """Of the plain mean of several tasks (``lm_eval.api.metrics.unweighted_mean_stderr``)."""
    return float(np.sqrt(sum(stderr**2 for stderr in stderrs)) / len(stderrs))
