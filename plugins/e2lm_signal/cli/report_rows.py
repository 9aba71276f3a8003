"""What `e2lm signal PATH` found: every score of every curve, of all series together, and the shape of that in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from e2lm import ScoreValue


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The scores of one curve. ``n`` counts its checkpoints."""

    series: str
    task: str
    metric: str
    n: int
    scores: dict[str, ScoreValue]
    #: What is known of how the curve was evaluated, as JSON text.
    key: str = ""


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
                {
                    "series": row.series,
                    "task": row.task,
                    "metric": row.metric,
                    "n": row.n,
                    "scores": _json(row.scores),
                    "key": json.loads(row.key) if row.key else {"task": row.task},
                }
                for row in self.rows
            ],
            "means": [
                {"task": mean.task, "metric": mean.metric, "series": list(mean.series), "scores": _json(mean.scores)}
                for mean in self.means
            ],
        }


def _json(scores: dict[str, ScoreValue]) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": value.value, "low": value.low, "high": value.high, "p": value.p, "reason": value.reason}
        for name, value in scores.items()
    }
