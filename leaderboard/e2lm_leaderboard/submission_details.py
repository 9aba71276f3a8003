"""What the page of a submission shows beside its scores: curves, tasks, a few samples, the environment.

Only public items are shown, and only checkpoints that are public; the rest is the organiser's.

Shape suffixes: K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, Samples, SeriesRoles
from e2lm.run_record import recorded_versions
from e2lm_leaderboard.pair_test import Z_90
from e2lm_leaderboard.task_items import TaskItem

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
        "low": _plain((curve.values_K - Z_90 * curve.stderr_K).tolist()),
        "high": _plain((curve.values_K + Z_90 * curve.stderr_K).tolist()),
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
