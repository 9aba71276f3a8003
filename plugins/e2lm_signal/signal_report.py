"""The signal report: every score of every curve, and the means over the series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from e2lm import Curve, ScoreValue, SignalScore
from e2lm.progress import progress_bar


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The scores of one curve. ``n`` counts its checkpoints."""

    series: str
    task: str
    metric: str
    n: int
    scores: dict[str, ScoreValue]


@dataclass(frozen=True, slots=True)
class MeanRow:
    """The mean of each score over the series of one task x metric, and its scores of the whole family."""

    task: str
    metric: str
    series: tuple[str, ...]
    scores: dict[str, ScoreValue]


@dataclass(frozen=True, slots=True)
class SignalReport:
    """Rows, means and what was done on the way."""

    rows: list[ReportRow]
    means: list[MeanRow]
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; a number that is undefined is None and has a reason."""
        return {
            "rows": [
                {"series": row.series, "task": row.task, "metric": row.metric, "n": row.n, "scores": _json(row.scores)}
                for row in self.rows
            ],
            "means": [
                {"task": mean.task, "metric": mean.metric, "series": list(mean.series), "scores": _json(mean.scores)}
                for mean in self.means
            ],
        }


def signal_report(
    curves: Sequence[Curve], scores: Sequence[SignalScore], seed: int = 0, quiet: bool = True
) -> SignalReport:
    """Every score of every curve; each curve draws from its own stream, so leaving one out changes no other."""
    of_curve = [score for score in scores if score.scope == "curve"]
    rows = []
    with progress_bar(len(curves), "curves", "signal", quiet=quiet) as bar:
        for curve in curves:
            values = {score.name: checked(score, score.score(curve, _stream(seed, curve, score))) for score in of_curve}
            rows.append(ReportRow(curve.series, curve.task, curve.metric, len(curve.values_K), values))
            bar.update()
    return SignalReport(rows, _means(rows, of_curve))


def _stream(seed: int, curve: Curve, score: SignalScore) -> np.random.Generator:
    name = "\x00".join((curve.series, curve.task, curve.metric, score.name))
    return np.random.default_rng([seed, *name.encode()])


def checked(score: SignalScore, value: ScoreValue) -> ScoreValue:
    """``value`` with numbers that are not finite turned into None, with a reason."""
    finite = {name: _finite(getattr(value, name)) for name in ("value", "low", "high", "p")}
    reason = value.reason
    if finite["value"] is None and reason is None:
        reason = f"{score.name} is undefined here"
    return ScoreValue(**finite, reason=reason, details=value.details)


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)


def _means(rows: Sequence[ReportRow], scores: Sequence[SignalScore]) -> list[MeanRow]:
    groups: dict[tuple[str, str], list[ReportRow]] = {}
    for row in rows:
        groups.setdefault((row.task, row.metric), []).append(row)
    return [
        MeanRow(
            task,
            metric,
            tuple(row.series for row in members),
            {score.name: _mean([row.scores[score.name] for row in members]) for score in scores},
        )
        for (task, metric), members in groups.items()
    ]


def _mean(values: Sequence[ScoreValue]) -> ScoreValue:
    """The mean of the defined values; ``reason`` says how many were not."""
    defined = [value.value for value in values if value.value is not None]
    if not defined:
        return ScoreValue(None, reason="undefined for every series")
    left_out = len(values) - len(defined)
    reason = f"{left_out} of {len(values)} series are undefined and left out" if left_out else None
    return ScoreValue(float(np.mean(defined)), reason=reason)


def _json(scores: dict[str, ScoreValue]) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": value.value, "low": value.low, "high": value.high, "p": value.p, "reason": value.reason}
        for name, value in scores.items()
    }
