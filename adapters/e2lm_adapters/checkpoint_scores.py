"""From Samples and lm-eval's own metrics to rows of the Scores table."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from e2lm.checkpoint import Checkpoint
from e2lm.item_metric import ItemMetric
from e2lm.samples import Samples
from e2lm.scores import ScoreRow
from e2lm.series import Series
from e2lm_adapters.evaluation_store import Unit


def standard_error(values_I: NDArray[np.float64]) -> float:
    """Standard error of the mean, ``std(ddof=1) / sqrt(n)`` as lm-eval has it; NaN below two values."""
    if len(values_I) < 2:
        return math.nan
    return float(np.std(values_I, ddof=1) / math.sqrt(len(values_I)))


def score_rows(
    series: Series, checkpoint: Checkpoint, unit: Unit, samples: Samples | None, metrics: Iterable[ItemMetric]
) -> list[ScoreRow]:
    """The rows of one task at one checkpoint: lm-eval's metrics, then item metrics it does not have."""
    tokens = series.tokens_at(checkpoint)
    flops = series.flops(tokens)

    def row(metric: str, value: float, stderr: float, n: int) -> ScoreRow:
        return ScoreRow(
            series=series.name,
            step=checkpoint.step,
            task=unit.task,
            metric=metric,
            value=value,
            params=float(series.params),
            tokens=tokens,
            flops=flops,
            stderr=stderr,
            n=n,
        )

    rows = [
        row(stock.metric, stock.value, math.nan if stock.stderr is None else stock.stderr, unit.n)
        for stock in unit.stock_metrics
    ]
    if samples is None:
        return rows
    there = {stock.metric for stock in unit.stock_metrics}
    least = int(samples.choices.there_IC.sum(axis=1).min()) if len(samples) else 0
    for metric in metrics:
        if metric.name in there or least < metric.min_choices:
            continue
        values_I = metric.per_item(samples.choices)
        rows.append(row(metric.name, float(np.mean(values_I)), standard_error(values_I), len(values_I)))
    return rows
