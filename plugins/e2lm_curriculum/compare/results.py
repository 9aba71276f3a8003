"""A comparison as plain JSON values and as text: what ``e2lm train compare`` prints."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2lm.messages import interval
from e2lm.run_record import RECORD_FILE, RunRecord
from e2lm_curriculum.compare.analysis import Analysis, ArmCurve, ArmEffect
from e2lm_curriculum.compare.costs import ArmCost
from e2lm_curriculum.compare.difference import Difference
from e2lm_curriculum.compare.looks import Looked
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.compare.verdict import Verdict, detectable_in_sd
from e2lm_curriculum.messages import say
from e2lm_curriculum.plan.arms import CURRICULUM, VANILLA

NO_CLAIM = "no baseline, no claim"
DIGITS = 7


def as_json(
    analysis: Analysis,
    costs: Sequence[ArmCost],
    exposure: dict[tuple[str, str], list[float]],
    curriculum: Any,
    looked: Looked | None,
) -> dict[str, Any]:
    """Everything the report shows."""
    sequential = {} if looked is None else {"sequential": _sequential(looked)}
    return sequential | {
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


def _sequential(looked: Looked) -> dict[str, Any]:
    return {
        "looks": [look.model_dump() for look in looked.looks],
        "look": looked.number,
        "decided": not looked.undecided,
        "undecided": list(looked.undecided),
        "within": [
            {"measure": measure, "schedule": schedule, "smallest": smallest}
            for measure, schedule, smallest in looked.within
        ],
    }


def looks_before(file: Path, found: Mapping[str, Any]) -> list[int]:
    """With how many seeds the comparison in ``file`` was looked at before it had those of ``found``.

    Each look that nobody planned has 5 % of its own.
    """
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
        if any(earlier["made"][name] != found["made"][name] for name in ("data_hash", "tokenizer_hash", "recipe")):
            return []  # of something else
        before, seeds = [int(one) for one in earlier.get("looks_before", [])], int(earlier["power"]["seeds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # there is none, or one of before these fields
    return before if seeds == found["power"]["seeds"] else [*before, seeds]


def look_lines(found: Mapping[str, Any]) -> list[str]:
    """What is to be known of other looks at the same comparison, planned or not."""
    if before := found.get("looks_before"):
        return [say("looked_before", before=[str(one) for one in before], percent=min(100, 5 * (len(before) + 1)))]
    if "sequential" not in found:
        return []
    one = found["sequential"]
    counts = [look["seeds"] for look in one["looks"]]
    seeds = counts[one["look"] - 1]
    lines = [say("sequential", look=one["look"], counts=[str(count) for count in counts])]
    lines.append(
        say("decided", seeds=seeds) if one["decided"] else say("undecided", seeds=seeds, schedules=one["undecided"])
    )
    return lines + [
        say("within", measure=shown_measure(row["measure"]), schedule=row["schedule"], smallest=row["smallest"])
        for row in one["within"]
    ]


#: Fields that differ between the arms, or are told elsewhere.
_OF_ARMS = frozenset({"corpus", "arm", "init_seed", "order_seed", "schedule", "curriculum", "size"})


def made_of(runs: Sequence[FinishedRun], command: Sequence[str], curriculum: Any) -> dict[str, Any]:
    """Corpus with hashes, recipe, versions and commands: what a report is to be repeated, and cited, by."""
    first = runs[0]
    file = first.folder / RECORD_FILE
    hashes = RunRecord.from_json_file(file).hashes if file.is_file() else {}
    names = [Path(name).name for name in first.record.config.get("corpus", [])]
    versions = dict(sorted(first.record.versions.items()))
    return {
        "command": shlex.join(command),
        "corpus": [{"file": name, "sha256": hashes.get(f"corpus.{place}")} for place, name in enumerate(names)],
        "data_hash": first.prepared.data_hash,
        "tokenizer_hash": first.prepared.tokenizer_hash,
        "recipe": {name: value for name, value in first.record.config.items() if name not in _OF_ARMS},
        "versions": versions,
        "runs": len(runs),
        "citation": say(
            "citation",
            version=versions.get("e2lm", "?"),
            curriculum=curriculum if isinstance(curriculum, str) else json.dumps(curriculum),
            runs=len(runs),
            params=first.series.params,
            tokens=first.tokens,
            corpus=names,
            data=first.prepared.data_hash[:16],
        ),
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


def as_text(analysis: Analysis, costs: Sequence[ArmCost], found: Mapping[str, Any]) -> str:
    """Scores with their baselines, effects, explanations, costs."""
    blocks = ["\n".join([headline(analysis), *look_lines(found)])]
    blocks += [_scores(analysis, place) for place in range(len(analysis.measures))]
    if analysis.has_baseline:
        blocks.append(_effects(analysis))
    blocks += [f"{shown_measure(name)} ({schedule}): {one.sentence}" for name, schedule, one in analysis.explanations]
    blocks.append(power_sentence(analysis))
    blocks.append(_costs(costs))
    return "\n\n".join(blocks)


def headline(analysis: Analysis) -> str:
    """The verdict on the curriculum in one sentence per schedule."""
    if not analysis.has_baseline:
        return say("no_vanilla")
    return "\n".join(_headline_of(analysis, schedule) for schedule in analysis.schedules)


def _headline_of(analysis: Analysis, schedule: str) -> str:
    arms = [arm for arm in analysis.arms if arm != VANILLA and analysis.of_arm(arm, schedule)]
    arm = CURRICULUM if CURRICULUM in arms else next(iter(arms), None)
    if arm is None:
        return say("schedule_without", schedule=schedule)
    effects = analysis.of_arm(arm, schedule)
    parts = "; ".join(f"{shown_measure(one.measure)}: {shown_verdict(one.final.word)}" for one in effects)
    return say("verdict", arm=arm, schedule=schedule, word=shown_verdict(analysis.verdict(arm, schedule)), parts=parts)


def shown_verdict(word: str) -> str:
    """A verdict as people read it; programs get the word itself."""
    return say.word("verdict", word)


def shown_measure(name: str) -> str:
    """The name of a measure: a task's, or ours of the held-out text."""
    return say.word("measure", name)


def shown_interval(one: Difference, form: str = ".4f") -> str:
    """Value and interval.

    >>> shown_interval(Difference(0.5, 0.25, 0.75, 0.01, 0.1, 4.0), "+.2f")
    '+0.50 [+0.25, +0.75]'
    """
    return interval(one.value, one, form)


def power_sentence(analysis: Analysis) -> str:
    """What the experiment could have seen."""
    seeds = min(len(seeds) for one in analysis.measures for seeds in one.seeds.values())
    seen = [
        say("sees", detectable=one.final.detectable, measure=shown_measure(one.measure), schedule=one.schedule)
        for one in analysis.effects
        if one.arm == CURRICULUM
    ]
    sd = detectable_in_sd(seeds)
    return say("power_of_this", seeds=seeds, sd=sd, seen=seen) if seen else say("power", seeds=seeds, sd=sd)


def measure_sentence(measure: Measure) -> str:
    """What is measured, in which unit and on how many items."""
    key = "higher_is_better" if measure.higher_is_better else "lower_is_better"
    unit = say.word("unit", measure.unit)
    return say(key, measure=shown_measure(measure.name), unit=unit, items=measure.items)


def _scores(analysis: Analysis, place: int) -> str:
    measure: Measure = analysis.measures[place]
    lines = [measure_sentence(measure)]
    lines += [f"  {say.word('baseline', name):<28} {value:.4f}" for name, value in measure.baselines.items()]
    first = analysis.curves[place][0]
    lines.append(f"  {say('step_0'):<28} {first.mean_K[0].value:.4f}")
    for curve in analysis.curves[place]:
        score = say("text_scores", interval=shown_interval(curve.mean_K[-1]), sd=curve.sd_of_seeds)
        lines.append(f"  {curve.arm + ' (' + curve.schedule + ')':<28} {score}")
    return "\n".join(lines)


def _effects(analysis: Analysis) -> str:
    lines = [say("text_against")]
    for one in analysis.effects:
        lines.append(f"  {one.arm} ({one.schedule}), {shown_measure(one.measure)}: {shown_verdict(one.final.word)}")
        lines += [f"      {line}" for line in effect_lines(one)]
    return "\n".join(lines)


def effect_lines(one: ArmEffect) -> list[str]:
    """The numbers behind a verdict."""
    final = one.final
    difference = shown_interval(final.difference, "+.4f")
    return [
        say("text_difference", interval=difference, p=final.p_holm, detectable=final.detectable),
        say("text_mean", interval=shown_interval(one.area, "+.4f")),
        say("text_tokens", goal=one.threshold.goal_tokens, reached=one.threshold.sentence),
        say("text_course", course=one.course.sentence),
    ]


def _costs(costs: Sequence[ArmCost]) -> str:
    lines = [say("text_cost")]
    for one in costs:
        told = {"tokens": one.tokens, "different": one.unique_tokens, "flops": one.flops, "seconds": one.wall_s}
        lines.append(f"  {one.arm + ' (' + one.schedule + ')':<28} {say('text_cost_of', **told)}")
    return "\n".join(lines)
