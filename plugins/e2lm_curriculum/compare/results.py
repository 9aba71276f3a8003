"""A comparison as plain JSON values and as text: what ``e2lm train compare`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from e2lm.messages import short
from e2lm_curriculum.compare.analysis import Analysis, ArmCurve, ArmEffect
from e2lm_curriculum.compare.costs import ArmCost
from e2lm_curriculum.compare.difference import Difference
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.verdict import Verdict, detectable_in_sd
from e2lm_curriculum.plan.arms import CURRICULUM, VANILLA

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


def as_text(analysis: Analysis, costs: Sequence[ArmCost]) -> str:
    """Scores with their baselines, effects, explanations, costs."""
    blocks = [headline(analysis), *(_scores(analysis, place) for place in range(len(analysis.measures)))]
    if analysis.has_baseline:
        blocks.append(_effects(analysis))
    blocks += [f"{name} ({schedule}): {one.sentence}" for name, schedule, one in analysis.explanations]
    blocks.append(power_sentence(analysis))
    blocks.append(_costs(costs))
    return "\n\n".join(blocks)


def headline(analysis: Analysis) -> str:
    """The verdict on the curriculum in one sentence per schedule."""
    if not analysis.has_baseline:
        return f"{NO_CLAIM}: there is no vanilla arm; curves are shown, nothing is claimed."
    lines = []
    for schedule in analysis.schedules:
        arms = [arm for arm in analysis.arms if arm != VANILLA and analysis.of_arm(arm, schedule)]
        arm = CURRICULUM if CURRICULUM in arms else next(iter(arms), None)
        if arm is None:
            lines.append(f"{NO_CLAIM}: schedule {schedule} has no vanilla arm or no other.")
            continue
        effects = analysis.of_arm(arm, schedule)
        parts = "; ".join(f"{one.measure}: {one.final.word}" for one in effects)
        lines.append(f"{arm} against vanilla, learning rate {schedule}: {analysis.verdict(arm, schedule)} ({parts}).")
    return "\n".join(lines)


def interval(one: Difference, digits: int = 4, sign: bool = False) -> str:
    """Value and interval.

    >>> interval(Difference(0.5, 0.25, 0.75, 0.01, 0.1, 4.0), 2, sign=True)
    '+0.50 [+0.25, +0.75]'
    """
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"


def power_sentence(analysis: Analysis) -> str:
    """What the experiment could have seen."""
    seeds = min(len(seeds) for one in analysis.measures for seeds in one.seeds.values())
    text = (
        f"Power: with {seeds} seeds per arm an unpaired comparison sees {detectable_in_sd(seeds):.2f} standard "
        "deviations between seeds in 80 of 100 experiments."
    )
    effects = [one for one in analysis.effects if one.arm == CURRICULUM]
    seen = ", ".join(f"{one.final.detectable:.3g} on {one.measure} ({one.schedule})" for one in effects)
    return text + (f" This one, paired, sees {seen}." if seen else "")


def _scores(analysis: Analysis, place: int) -> str:
    measure: Measure = analysis.measures[place]
    better = "higher" if measure.higher_is_better else "lower"
    lines = [f"{measure.name}: {measure.unit}, {better} is better, {measure.items} items"]
    lines += [f"  {name:<28} {value:.4f}" for name, value in measure.baselines.items()]
    first = analysis.curves[place][0]
    lines.append(f"  {'step 0':<28} {first.mean_K[0].value:.4f}")
    lines += [
        f"  {curve.arm + ' (' + curve.schedule + ')':<28} {interval(curve.mean_K[-1])}  sd between seeds "
        f"{curve.sd_of_seeds:.4f}"
        for curve in analysis.curves[place]
    ]
    return "\n".join(lines)


def _effects(analysis: Analysis) -> str:
    lines = ["against vanilla, paired by seed (95 %, seeds x items; p after Holm over the measures of an arm)"]
    for one in analysis.effects:
        lines.append(f"  {one.arm} ({one.schedule}), {one.measure}: {one.final.word}")
        lines += [f"      {line}" for line in effect_lines(one)]
    return "\n".join(lines)


def effect_lines(one: ArmEffect) -> list[str]:
    """The numbers behind a verdict."""
    return [
        f"final difference {interval(one.final.difference, sign=True)}, p {one.final.p_holm:.2g}; "
        f"detectable {one.final.detectable:.3g}",
        f"mean over training {interval(one.area, sign=True)}",
        f"tokens to vanilla's score at {short(one.threshold.goal_tokens)}: {one.threshold.sentence}",
        f"over the run: {one.course.sentence}",
    ]


def _costs(costs: Sequence[ArmCost]) -> str:
    lines = ["cost of one run (mean over seeds)"]
    lines += [
        f"  {one.arm + ' (' + one.schedule + ')':<28} {short(one.tokens)} tokens, {short(one.unique_tokens)} of them "
        f"different, {one.flops:.3g} FLOPs, {one.wall_s:.0f} s"
        for one in costs
    ]
    return "\n".join(lines)
