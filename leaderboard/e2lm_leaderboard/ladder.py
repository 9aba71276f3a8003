"""The Ladder rule for public scores (Blum and Hardt 2015, arXiv 1502.04585, algorithm 1).

A team's published score moves only when it beats the team's best by more than a step, and then it is rounded to the
step: trying again and again tells nothing about the hidden items below the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from e2lm_leaderboard.store import Entry, Result

PUBLISHED = "published"


def published_results(entries: Sequence[Entry], public: Mapping[str, Result], step: float) -> dict[str, Result]:
    """What is shown for each entry: a pure function of all public results in order of arrival.

    The width of an interval is rounded up to the step, for the ends would tell the value otherwise.
    """
    best: dict[str, float] = {}
    shown: dict[str, Result] = {}
    for entry in sorted(entries, key=lambda one: one.number):
        result = public.get(entry.id)
        if result is None:
            continue
        if result.value is None:
            shown[entry.id] = replace(result, split=PUBLISHED, low=None, high=None, p=None)
            continue
        known = best.get(entry.team)
        value = known
        if known is None or result.value > known + step:
            value = rounded(result.value, step)
            best[entry.team] = value
        shown[entry.id] = _around(result, float(value or 0.0), step)
    return shown


def _around(result: Result, value: float, step: float) -> Result:
    if result.value is None or result.low is None or result.high is None:
        return replace(result, split=PUBLISHED, value=value, low=None, high=None, p=None)
    below, above = (_rounded_up(width, step) for width in (result.value - result.low, result.high - result.value))
    return replace(
        result,
        split=PUBLISHED,
        value=value,
        low=rounded(value - below, step),
        high=rounded(value + above, step),
        p=None,
    )


def _rounded_up(width: float, step: float) -> float:
    """The multiple of ``step`` from ``width`` on; the dust of a binary fraction is no reason to go further."""
    return round(math.ceil(width / step - 1e-6) * step, 10)


def rounded(value: float, step: float) -> float:
    """The multiple of ``step`` nearest to ``value``, without the dust of binary fractions.

    >>> rounded(0.1234, 0.01)
    0.12
    """
    return round(round(value / step) * step, 10)
