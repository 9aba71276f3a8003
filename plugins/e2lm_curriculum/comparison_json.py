"""A comparison as plain JSON values: what ``e2lm train compare --json`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from e2lm_curriculum.arm import VANILLA
from e2lm_curriculum.comparison_analysis import Analysis, ArmCurve, ArmEffect
from e2lm_curriculum.comparison_difference import Difference
from e2lm_curriculum.comparison_measures import Measure
from e2lm_curriculum.flops import ArmCost
from e2lm_curriculum.power import detectable_in_sd
from e2lm_curriculum.verdict import Verdict

NO_CLAIM = "no baseline, no claim"
DIGITS = 7


def as_json(
    analysis: Analysis, costs: Sequence[ArmCost], exposure: dict[tuple[str, str], list[float]], curriculum: Any
) -> dict[str, Any]:
    """Everything the report shows."""
    return {
        "curriculum": curriculum if isinstance(curriculum, str) else dict(curriculum),
        "verdicts": verdict_rows(analysis) if analysis.has_baseline else NO_CLAIM,
        "measures": [
            _measure(measure, curves) for measure, curves in zip(analysis.measures, analysis.curves, strict=True)
        ],
        "effects": [_effect(one) for one in analysis.effects],
        "explanations": [
            {
                "measure": name,
                "schedule": schedule,
                "sentence": one.sentence,
                "total": _verdict(one.total),
                "reweighting": _verdict(one.reweighting),
                "order": _verdict(one.order),
            }
            for name, schedule, one in analysis.explanations
        ],
        "costs": [_rounded(asdict(one)) for one in costs],
        "exposure_by_decile": [
            {"arm": arm, "schedule": schedule, "ratios": [_number(ratio) for ratio in ratios]}
            for (arm, schedule), ratios in exposure.items()
        ],
        "power": _power(analysis),
    }


def verdict_rows(analysis: Analysis) -> list[dict[str, str]]:
    """The verdict over all measures for every arm."""
    return [
        {"arm": arm, "schedule": schedule, "verdict": analysis.verdict(arm, schedule)}
        for schedule in analysis.schedules
        for arm in analysis.arms
        if arm != VANILLA and analysis.of_arm(arm, schedule)
    ]


def _measure(measure: Measure, curves: Sequence[ArmCurve]) -> dict[str, Any]:
    return {
        "name": measure.name,
        "unit": measure.unit,
        "higher_is_better": measure.higher_is_better,
        "items": measure.items,
        "seeds": {schedule: list(seeds) for schedule, seeds in measure.seeds.items()},
        "tokens": list(measure.tokens_K),
        "baselines": _rounded(dict(measure.baselines)),
        "arms": [
            {
                "arm": curve.arm,
                "schedule": curve.schedule,
                "curve": [_interval(one) for one in curve.mean_K],
                "sd_of_seeds": _number(curve.sd_of_seeds),
                "area": _interval(curve.area),
            }
            for curve in curves
        ],
    }


def _effect(effect: ArmEffect) -> dict[str, Any]:
    return {
        "measure": effect.measure,
        "arm": effect.arm,
        "schedule": effect.schedule,
        "final": _verdict(effect.final),
        "area": _interval(effect.area),
        "differences": [_interval(one) for one in effect.difference_K],
        "course": {**asdict(effect.course), "sentence": effect.course.sentence},
        "tokens_to_threshold": {**_rounded(asdict(effect.threshold)), "sentence": effect.threshold.sentence},
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.word,
        **_interval(verdict.difference),
        "p": _number(verdict.difference.p),
        "p_holm": _number(verdict.p_holm),
        "detectable": _number(verdict.detectable),
    }


def _interval(one: Difference) -> dict[str, Any]:
    return {"value": _number(one.value), "low": _number(one.low), "high": _number(one.high)}


def _power(analysis: Analysis) -> dict[str, Any]:
    seeds = min(len(seeds) for one in analysis.measures for seeds in one.seeds.values())
    return {
        "seeds": seeds,
        "alpha": 0.05,
        "power": 0.8,
        "detectable_sd_unpaired": round(detectable_in_sd(seeds), 2),
        "detectable": "per measure and arm: the smallest true difference seen in at least 80 of 100 such experiments",
    }


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in data.items()}


def _number(value: float | None) -> float | None:
    """Seven digits: enough for every decision, and the same text on every machine."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
