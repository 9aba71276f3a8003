"""The numbers of a submission, each with an interval or the reason why not, and what its page shows beside them.

A score that brings its own interval keeps it. For any other the items are redrawn, the same ones at all checkpoints
and series, and the 90 % interval is ``value + q05 - q50`` to ``value + q95 - q50`` of the redraws. The interval of a
mean over series is the mean of their ends: exact where the noise of the series is shared, as it is when they answer the
same items, and too wide otherwise.

Beside its scores the page of a submission shows curves, tasks, a few samples and the environment: only public items,
and only checkpoints that are public; the rest is the organiser's.

Shape suffixes: D draws, K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, Samples, ScoreValue, SeriesRoles, SignalScore
from e2lm.errors import one_line
from e2lm.interval import Interval, normal_quantile, recentred_interval, redrawn_counts_DI
from e2lm.run_record import recorded_versions
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.store.store import Result

DRAWS = 200
NO_ROLES = SeriesRoles()

Score = Callable[[Sequence[Curve]], ScoreValue]


@dataclass(frozen=True, slots=True)
class _Number:
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str


def submission_results(
    split: str,
    curves: Sequence[Curve],
    scores: Sequence[SignalScore],
    seed: int,
    draws: int = DRAWS,
    roles: SeriesRoles = NO_ROLES,
) -> list[Result]:
    """Results of one split: of each score over all series, and for each series where the score is one of curves.

    Control series are shown to those scores of families that know of roles, and to no other.
    """
    results: list[Result] = []
    scored = [curve for curve in curves if not roles.is_control(curve.series)]
    for score in scores:
        rng = np.random.default_rng([seed, len(results)])
        known = score if score.under is None else score.under(roles)
        if score.scope == "family":
            results += _family_results(split, curves if score.under else scored, known, rng, draws)
        else:
            results += _curve_results(split, scored, known, rng, draws)
    return results


def _curve_results(
    split: str, curves: Sequence[Curve], score: SignalScore, rng: np.random.Generator, draws: int
) -> list[Result]:
    by_series: dict[str, list[_Number]] = {}
    for curve in curves:
        number = _number([curve], lambda group: score.score(group[0], rng), rng, draws)
        by_series.setdefault(curve.series, []).append(number)
    per_series = {series: _mean(numbers) for series, numbers in sorted(by_series.items())}
    overall = _mean(list(per_series.values()))
    return [_result(split, score.name, "", overall)] + [
        _result(split, score.name, series, number) for series, number in per_series.items()
    ]


def _family_results(
    split: str, curves: Sequence[Curve], score: SignalScore, rng: np.random.Generator, draws: int
) -> list[Result]:
    tasks = sorted({curve.task for curve in curves})
    numbers = [
        _number([curve for curve in curves if curve.task == task], lambda group: score.score(group, rng), rng, draws)
        for task in tasks
    ]
    return [_result(split, score.name, "", _mean(numbers))]


def _result(split: str, name: str, series: str, number: _Number) -> Result:
    return Result(split, name, series, number.value, number.low, number.high, number.p, number.reason)


def _number(curves: Sequence[Curve], score: Score, rng: np.random.Generator, draws: int) -> _Number:
    try:
        found = score(curves)
    except Exception as error:  # a score of a plugin may fail; the others go on
        return _Number(None, None, None, None, f"the score failed: {type(error).__name__}: {one_line(error)}"[:300])
    reason = found.reason or ""
    if found.value is None or not np.isfinite(found.value):
        return _Number(None, None, None, None, reason or "undefined")
    value = float(found.value)
    p = None if found.p is None else float(found.p)
    if found.low is not None and found.high is not None:
        return _Number(value, float(found.low), float(found.high), p, reason)
    interval = _redrawn_interval(curves, score, value, rng, draws)
    if interval is None:
        return _Number(value, None, None, p, f"{reason}; no interval: undefined when items are redrawn".lstrip("; "))
    return _Number(value, *interval, p, reason)


def _redrawn_interval(
    curves: Sequence[Curve], score: Score, value: float, rng: np.random.Generator, draws: int
) -> Interval | None:
    counts = {0 if curve.items_KI is None else curve.items_KI.shape[1] for curve in curves}
    n = counts.pop()
    if counts or n < 2:
        return None
    weights_DI = redrawn_counts_DI(n, draws, rng) / n
    values = [_values_DK(curve, weights_DI) for curve in curves]
    drawn = []
    for draw in range(draws):
        redrawn = [replace(curve, values_K=one[draw], items_KI=None) for curve, one in zip(curves, values, strict=True)]
        found = score(redrawn).value
        if found is not None and np.isfinite(found):
            drawn.append(float(found))
    if len(drawn) < draws // 2:
        return None
    return recentred_interval(value, np.array(drawn)).holding(value)


def _values_DK(curve: Curve, weights_DI: NDArray[np.float64]) -> NDArray[np.float64]:
    assert curve.items_KI is not None
    return np.asarray(weights_DI @ curve.items_KI.T)


def _mean(numbers: Sequence[_Number]) -> _Number:
    """Undefined where one is: a mean over fewer series would be another number."""
    reasons = "; ".join(dict.fromkeys(number.reason for number in numbers if number.reason))[:400]
    values = [number.value for number in numbers if number.value is not None]
    if not numbers or len(values) < len(numbers):
        return _Number(None, None, None, None, reasons or "no curve")
    lows = [number.low for number in numbers if number.low is not None]
    highs = [number.high for number in numbers if number.high is not None]
    known = len(lows) == len(highs) == len(numbers)
    p = numbers[0].p if len(numbers) == 1 else None
    return _Number(
        float(np.mean(values)),
        float(np.mean(lows)) if known else None,
        float(np.mean(highs)) if known else None,
        p,
        reasons,
    )


SHOWN_SAMPLES = 5
DIGITS = 6


def details(
    titles: Sequence[str],
    names: Sequence[str],
    curves: Sequence[Curve],
    items: Sequence[Sequence[TaskItem]],
    public: Sequence[NDArray[np.bool_]],
    samples: Sequence[Samples],
    remarks: str,
    roles: SeriesRoles,
    sandbox: str,
) -> dict[str, Any]:
    """Plain JSON; ``titles`` are the tasks' own names, ``names`` those they were evaluated under."""
    title_of = dict(zip(names, titles, strict=True))
    public_steps = {curve.series: set(curve.steps_K.tolist()) for curve in curves if not roles.is_control(curve.series)}
    seen = [one for one in samples if one.step in public_steps.get(one.series, ())]
    return {
        "curves": [_curve(curve, title_of[curve.task], roles) for curve in curves],
        "tasks": [
            {
                "task": title,
                "items": len(own),
                "public": int(shown.sum()),
                "choices": sorted({len(item.choices) for item in own}),
            }
            for title, own, shown in zip(titles, items, public, strict=True)
        ],
        "samples": [
            sample
            for title, name, own, shown in zip(titles, names, items, public, strict=True)
            for sample in _samples(title, own, shown, [one for one in seen if one.task == name])
        ],
        "environment": {**recorded_versions(), "sandbox": sandbox},
        "remarks": remarks,
    }


def _curve(curve: Curve, title: str, roles: SeriesRoles) -> dict[str, Any]:
    half_K = normal_quantile() * curve.stderr_K
    return {
        "task": title,
        "series": curve.series,
        "control": roles.is_control(curve.series),
        "metric": curve.metric,
        "params": _plain([curve.params])[0],
        "chance": _plain([curve.chance])[0],
        "steps": curve.steps_K.tolist(),
        "tokens": _plain(curve.tokens_K.tolist()),
        "values": _plain(curve.values_K.tolist()),
        "low": _plain((curve.values_K - half_K).tolist()),
        "high": _plain((curve.values_K + half_K).tolist()),
    }


def _plain(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None or not np.isfinite(value) else round(float(value), DIGITS) for value in values]


def _samples(
    title: str, items: Sequence[TaskItem], public: NDArray[np.bool_], samples: Sequence[Samples]
) -> list[dict[str, Any]]:
    """The first public items with what the first and the last checkpoint of the last series said."""
    if not samples:
        return []
    series = max(one.series for one in samples)
    of_series = sorted((one for one in samples if one.series == series), key=lambda one: one.step)
    shown = []
    for place in np.flatnonzero(public)[:SHOWN_SAMPLES].tolist():
        item = items[place]
        answers = []
        for one in (of_series[0], of_series[-1]):
            logliks = one.choices.loglik_IC[place][: len(item.choices)]
            answers.append({"step": one.step, "logliks": _plain(logliks.tolist())})
        shown.append(
            {
                "task": title,
                "context": item.context[-600:],
                "choices": [choice[:200] for choice in item.choices],
                "gold": item.gold,
                "series": series,
                "answers": answers,
            }
        )
    return shown
