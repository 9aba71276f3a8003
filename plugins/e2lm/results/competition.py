"""The JSON of the 2025 E2LM competition, and the tokens that its runs had seen at an iteration.

``{"data": {model: {"iteration": [...], "gtokens": [...], benchmark: [...]}}}``; notebook 5 of the starter kit asks
entrants for the same without ``gtokens``, with ``model_type`` and ``experiment`` beside it. Gigatokens follow from the
iteration there: the batch of the six runs grew, and so they do here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm.errors import UserError
from e2lm.scores import ScoreRow

#: Columns of the JSON that are no benchmark.
ABOUT = ("iteration", "gtokens", "model_type", "experiment")
#: The models of the competition; ``tiiuae/`` may stand before them.
RUNS = re.compile(r"(?:.*[/@])?dense-(?:500m|1b|3b)-arch[12]")


@dataclass(frozen=True, slots=True)
class BatchRamp:
    """A batch that grows from ``start`` by ``increment`` to ``batch`` sequences, in equal shares of ``samples``
    sequences: Megatron-LM's ``--rampup-batch-size START INCREMENT SAMPLES`` and ``--global-batch-size``. ``length``:
    tokens of a sequence.
    """

    start: int
    increment: int
    samples: int
    batch: int
    length: int

    def tokens(self, step: float) -> float:
        """Tokens seen after that many steps.

        >>> round(COMPETITION_RAMP.tokens(4000) / 1e9, 1), round(COMPETITION_RAMP.tokens(56000) / 1e9, 1)
        (4.2, 206.0)
        """
        stages = range(self.start, self.batch, self.increment)
        seen, left = 0.0, float(step)
        for batch in stages:
            share = self.samples / len(stages)
            if left * batch <= share:
                return (seen + left * batch) * self.length
            seen, left = seen + share, left - share / batch
        return (seen + left * self.batch) * self.length


#: Of all six runs of the competition; its published gigatokens come out to ten digits.
COMPETITION_RAMP = BatchRamp(start=256, increment=256, samples=4_882_812, batch=1024, length=4096)


def competition_rows(data: Mapping[str, Any], path: Path) -> tuple[list[ScoreRow], list[str]]:
    """Rows of the JSON, metric ``score``, and what was left out or concluded on the way."""
    rows: list[ScoreRow] = []
    notes: list[str] = []
    without_tokens = []
    for series, columns in data["data"].items():
        place = f"{path}: data.{series}"
        steps, tokens = _checkpoints(columns, place)
        if "gtokens" not in columns:
            without_tokens.append(str(series))
        for task, values in columns.items():
            if task not in ABOUT:
                rows += _column(str(series), steps, tokens, str(task), values, place, notes)
    if without_tokens:
        said = "tokens follow from 'iteration' by the competition's batch ramp, for want of 'gtokens'"
        notes.append(f"{path}: {len(without_tokens)} of {len(data['data'])} models: {said}")
    return rows, notes


def _checkpoints(columns: Any, place: str) -> tuple[list[int], list[float]]:
    steps = _numbers(columns, "iteration")
    if steps is None or any(step < 0 or step % 1 for step in steps):
        raise UserError(f"{place}: a list of whole numbers 'iteration' is expected")
    if "gtokens" not in columns:
        return [int(step) for step in steps], [COMPETITION_RAMP.tokens(step) for step in steps]
    gigatokens = _numbers(columns, "gtokens")
    if gigatokens is None or len(gigatokens) != len(steps):
        raise UserError(
            f"{place}: 'gtokens' must be a list of {len(steps)} numbers, one for each of 'iteration'; leave it out and "
            "they follow from the competition's batch ramp"
        )
    return [int(step) for step in steps], [float(giga) * 1e9 for giga in gigatokens]


def _column(
    series: str, steps: Sequence[int], tokens: Sequence[float], task: str, values: Any, place: str, notes: list[str]
) -> Iterator[ScoreRow]:
    if not isinstance(values, list) or not any(map(_is_value, values)):
        notes.append(f"{place}.{task}: holds no scores; left out")
        return
    if len(values) != len(steps):
        raise UserError(
            f"{place}.{task}: {len(values)} values for {len(steps)} iterations; the lists must be of one length"
        )
    missing = [step for step, value in zip(steps, values, strict=True) if not _is_value(value)]
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        notes.append(f"{place}.{task}: no finite number at iteration {shown}; left out")
    for step, seen, value in zip(steps, tokens, values, strict=True):
        if _is_value(value):
            yield ScoreRow(series, step, task, "score", float(value), tokens=seen)


def _is_value(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(columns: Any, name: str) -> list[float] | None:
    values = columns.get(name) if isinstance(columns, dict) else None
    return values if isinstance(values, list) and all(map(_is_value, values)) else None
