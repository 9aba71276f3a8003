"""The signal report: every score of every curve, and the means over the series."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore, UserError
from e2lm.errors import one_line
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
    groups: Iterable[Sequence[Curve]], scores: Sequence[SignalScore], seed: int = 0, total: int = 0, quiet: bool = True
) -> SignalReport:
    """Every score of every curve, and of every family of curves (one task x metric, all series).

    Each score of each task x metric draws from its own stream, the same for all series: what is scored beside it, and
    what the series are called, changes nothing.
    """
    of_curve = [score for score in scores if score.scope == "curve"]
    of_family = [score for score in scores if score.scope == "family"]
    rows: list[ReportRow] = []
    means: list[MeanRow] = []
    with progress_bar(total, "curves", "signal", quiet=quiet) as bar:
        for curves in groups:
            family_rows = []
            for curve in curves:
                values = {score.name: _value(score, curve, _stream(seed, curve, score)) for score in of_curve}
                family_rows.append(ReportRow(curve.series, curve.task, curve.metric, len(curve.values_K), values))
                bar.update()
            rows += family_rows
            means.append(_mean_row(curves, family_rows, of_curve, of_family, seed))
    return SignalReport(rows, means)


def _mean_row(
    curves: Sequence[Curve],
    rows: Sequence[ReportRow],
    of_curve: Sequence[SignalScore],
    of_family: Sequence[SignalScore],
    seed: int,
) -> MeanRow:
    scores = {score.name: _mean([row.scores[score.name] for row in rows]) for score in of_curve}
    # In order of their content, not of their names: what series are called must not matter where they are redrawn.
    ordered = sorted(curves, key=lambda curve: (curve.params, curve.values_K.tolist()))
    for score in of_family:
        scores[score.name] = _value(score, ordered, _stream(seed, curves[0], score))
    return MeanRow(curves[0].task, curves[0].metric, tuple(curve.series for curve in curves), scores)


def _stream(seed: int, curve: Curve, score: SignalScore) -> np.random.Generator:
    name = "\x00".join((curve.task, curve.metric, score.name))
    return np.random.default_rng([seed, *name.encode()])


def _value(score: SignalScore, curves: Curve | Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """What ``score`` says; one that raises costs itself only and is named, for the others were asked for too."""
    try:
        return checked(score, score.score(curves, rng))
    except UserError:
        raise
    except Exception as error:
        said = f"signal score {score.name!r} raised {type(error).__name__}: {one_line(error)}"
        warnings.warn(said, stacklevel=2)
        return ScoreValue(None, reason=said)


def checked(score: SignalScore, value: ScoreValue) -> ScoreValue:
    """``value`` with numbers that are not finite turned into None, with a reason."""
    finite = {name: _finite(getattr(value, name)) for name in ("value", "low", "high", "p")}
    reason = value.reason
    if finite["value"] is None and reason is None:
        reason = f"{score.name} is undefined here"
    return ScoreValue(**finite, reason=reason, details=value.details)


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)


def _mean(values: Sequence[ScoreValue]) -> ScoreValue:
    """The mean of the defined values; ``reason`` says how many were not."""
    defined = [value.value for value in values if value.value is not None]
    if not defined:
        return ScoreValue(None, reason="undefined for every series")
    left_out = len(values) - len(defined)
    said = [f"{left_out} of {len(values)} series are undefined and left out"] if left_out else []
    said.append(f"no interval: a mean over {len(defined)} series that share their items; see each")
    return ScoreValue(float(np.mean(defined)), reason="; ".join(said))


def _json(scores: dict[str, ScoreValue]) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": value.value, "low": value.low, "high": value.high, "p": value.p, "reason": value.reason}
        for name, value in scores.items()
    }
