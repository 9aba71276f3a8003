"""A comparison as one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from e2lm.chart import CATEGORIES, Chart, Line, Mark
from e2lm.messages import Html
from e2lm.page import Page, figures, note, preformatted, section, strong, table
from e2lm_curriculum.compare.analysis import Analysis, ArmCurve, ArmEffect
from e2lm_curriculum.compare.costs import ArmCost
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.results import (
    headline,
    look_lines,
    measure_sentence,
    power_sentence,
    shown_interval,
    shown_measure,
    shown_verdict,
)
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.compare.verdict import NO_DIFFERENCE, Word
from e2lm_curriculum.messages import say
from e2lm_curriculum.plan.arms import ARMS, VANILLA

COLORS: dict[str, str] = dict(zip(ARMS, CATEGORIES, strict=False))
#: Of a difference, which has a sign.
SIGNED = "+.4f"


def report_html(
    analysis: Analysis,
    costs: Sequence[ArmCost],
    exposure: Mapping[tuple[str, str], Sequence[float]],
    found: Mapping[str, Any],
    runs: Sequence[FinishedRun],
) -> str:
    """The whole page."""
    scores = zip(analysis.measures, analysis.curves, strict=True)
    parts = [
        *headline(analysis).split("\n"),
        *(note(one) for one in look_lines(found)),
        note(power_sentence(analysis)),
        *_effects(analysis),
        *_explanations(analysis),
        section(say("scores")),
        *(_scores(measure, curves) for measure, curves in scores),
        section(say("over_training")),
        note(say("over_training_note")),
        figures(_charts(analysis)),
        section(say("exposure")),
        note(say("exposure_note")),
        figures([_exposure_chart(exposure, schedule) for schedule in analysis.schedules[:1]]),
        section(say("cost")),
        _cost_table(costs),
        section(say("how_made")),
        *_made(found, runs),
    ]
    return Page(say("heading"), parts, title="e2lm train compare", language=say.language).html()


# -- tables ---------------------------------------------------------------------------------------------------------


def _effects(analysis: Analysis) -> list[Html]:
    if not analysis.effects:
        return []
    head = [
        *("arm", "learning_rate", "measure", "verdict_head", "difference_at_end", "p_holm", "detectable"),
        *("mean_over_training", "tokens_to_score", "over_run"),
    ]
    rows = [_effect_row(one) for one in analysis.effects]
    shown = table(say("against_vanilla"), [say(one) for one in head], rows, numbers=range(4, 9))
    return [section(say("against_vanilla")), note(say("against_vanilla_note")), shown]


def _effect_row(one: ArmEffect) -> list[str]:
    return [
        one.arm,
        one.schedule,
        shown_measure(one.measure),
        _verdict(one.final.word),
        shown_interval(one.final.difference, SIGNED),
        f"{one.final.p_holm:.2g}",
        f"{one.final.detectable:.3g}",
        shown_interval(one.area, SIGNED),
        one.threshold.sentence,
        one.course.sentence,
    ]


def _verdict(word: Word) -> str:
    shown = shown_verdict(word)
    return shown if word == NO_DIFFERENCE else strong(shown)


def _explanations(analysis: Analysis) -> list[Html]:
    if not analysis.explanations:
        return []
    head = ("measure", "learning_rate", "curriculum_minus_vanilla", "reweighting_alone", "order_alone", "what_explains")
    rows = [
        [
            shown_measure(name),
            schedule,
            shown_interval(one.total.difference, SIGNED),
            shown_interval(one.reweighting.difference, SIGNED),
            shown_interval(one.order.difference, SIGNED),
            one.sentence,
        ]
        for name, schedule, one in analysis.explanations
    ]
    shown = table(say("why"), [say(one) for one in head], rows, numbers=range(2, 5))
    return [section(say("why")), note(say("why_note")), shown]


def _scores(measure: Measure, curves: Sequence[ArmCurve]) -> Html:
    rows = [[say.word("baseline", name), "", f"{value:.4f}", "", ""] for name, value in measure.baselines.items()]
    rows.append([say("step_0"), "", f"{curves[0].mean_K[0].value:.4f}", "", ""])
    rows += [
        [
            curve.arm,
            curve.schedule,
            shown_interval(curve.mean_K[-1]),
            f"{curve.sd_of_seeds:.4f}",
            shown_interval(curve.area),
        ]
        for curve in curves
    ]
    heads = ("learning_rate", "at_end", "sd_between_seeds", "mean_over_training")
    head = [measure_sentence(measure), *(say(one) for one in heads)]
    return table(shown_measure(measure.name), head, rows, numbers=range(2, 5))


def _cost_table(costs: Sequence[ArmCost]) -> Html:
    head = ("arm", "learning_rate", "tokens", "different_tokens", "epochs", "flops", "wall_time", "scoring")
    rows = [
        [
            one.arm,
            one.schedule,
            f"{one.tokens:,.0f}",
            f"{one.unique_tokens:,.0f}",
            f"{one.epochs:.2f}",
            f"{one.flops:.4g}",
            f"{one.wall_s:.0f} s",
            f"{one.scoring_cpu_s:.1f} s",
        ]
        for one in costs
    ]
    return table(say("cost"), [say(one) for one in head], rows, numbers=range(2, 8))


def _made(found: Mapping[str, Any], runs: Sequence[FinishedRun]) -> list[Html]:
    first = runs[0]
    versions = [f"{name} {version}" for name, version in sorted(first.record.versions.items())]
    params, without = first.series.params, first.series.params_non_embedding
    made = {name: one for name, one in found["made"].items() if name not in {"versions", "citation"}}
    return [
        note(say("made", runs=len(runs), params=params, without_embedding=without, versions=versions)),
        preformatted(f"curriculum: {json.dumps(found['curriculum'])}\n{json.dumps(made, indent=1)}"),
        section(say("cite")),
        preformatted(found["made"]["citation"]),
    ]


# -- charts ---------------------------------------------------------------------------------------------------------


def _charts(analysis: Analysis) -> list[Chart]:
    charts = []
    for schedule in analysis.schedules:
        for measure, curves in zip(analysis.measures, analysis.curves, strict=True):
            own = [curve for curve in curves if curve.schedule == schedule]
            charts.append(_curve_chart(measure, own, schedule))
            effects = [one for one in analysis.effects if (one.measure, one.schedule) == (measure.name, schedule)]
            if effects:
                charts.append(_difference_chart(measure, effects, schedule))
    return charts


def _curve_chart(measure: Measure, curves: Sequence[ArmCurve], schedule: str) -> Chart:
    shown = [k for k, tokens in enumerate(measure.tokens_K) if tokens > 0]
    return Chart(
        title=say("curve_title", measure=shown_measure(measure.name), schedule=schedule),
        x_label=say("training_tokens"),
        y_label=say.word("unit", measure.unit),
        lines=[
            Line(
                label=curve.arm,
                x=[measure.tokens_K[k] for k in shown],
                y=[curve.mean_K[k].value for k in shown],
                low=[curve.mean_K[k].low for k in shown],
                high=[curve.mean_K[k].high for k in shown],
                color=COLORS.get(curve.arm, CATEGORIES[-1]),
                dashed=curve.arm == VANILLA,
            )
            for curve in curves
        ],
        marks=[
            Mark(say.word("baseline", name), value)
            for name, value in measure.baselines.items()
            if measure.higher_is_better
        ],
        log_x=True,
    )


def _difference_chart(measure: Measure, effects: Sequence[ArmEffect], schedule: str) -> Chart:
    shown = [k for k, tokens in enumerate(measure.tokens_K) if tokens > 0]
    better = "above_is_better" if measure.higher_is_better else "below_is_better"
    name = shown_measure(measure.name)
    return Chart(
        title=say("difference_title", measure=name, schedule=schedule),
        x_label=say("training_tokens"),
        y_label=say(better, unit=say.word("unit", measure.unit)),
        lines=[
            Line(
                label=one.arm,
                x=[measure.tokens_K[k] for k in shown],
                y=[one.difference_K[k].value for k in shown],
                low=[one.difference_K[k].low for k in shown],
                high=[one.difference_K[k].high for k in shown],
                color=COLORS.get(one.arm, CATEGORIES[-1]),
            )
            for one in effects
        ],
        marks=[Mark(VANILLA, 0.0)],
        log_x=True,
        description=say("difference_description", measure=name, tokens=measure.tokens_K[-1]),
    )


def _exposure_chart(exposure: Mapping[tuple[str, str], Sequence[float]], schedule: str) -> Chart:
    return Chart(
        title=say("exposure_title"),
        x_label=say("exposure_across"),
        y_label=say("exposure_up"),
        lines=[
            Line(
                label=arm,
                x=list(range(1, len(ratios) + 1)),
                y=list(ratios),
                color=COLORS.get(arm, CATEGORIES[-1]),
                dashed=arm == VANILLA,
            )
            for (arm, own), ratios in exposure.items()
            if own == schedule
        ],
    )
