"""A comparison as one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from e2lm.chart import CATEGORIES, Chart, Line, Mark, svg
from e2lm.messages import short
from e2lm_curriculum.compare.analysis import Analysis, ArmCurve, ArmEffect
from e2lm_curriculum.compare.costs import ArmCost
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.results import headline, interval, power_sentence
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.plan.arms import ARMS, VANILLA

COLORS: dict[str, str] = dict(zip(ARMS, CATEGORIES, strict=False))

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --paper: #0d1117; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } .soft { color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 1rem; }
.charts svg { max-width: 100%; height: auto; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; } th, td { padding: .3rem .7rem; text-align: left; }
thead th { border-bottom: 2px solid var(--line); } tbody tr { border-bottom: 1px solid var(--line); }
td.number { text-align: right; white-space: nowrap; } pre { overflow-x: auto; font-size: .85rem; }
.better, .worse { font-weight: 600; }
"""


def report_html(
    analysis: Analysis,
    costs: Sequence[ArmCost],
    exposure: Mapping[tuple[str, str], Sequence[float]],
    found: Mapping[str, Any],
    runs: Sequence[FinishedRun],
) -> str:
    """The whole page."""
    body = [
        "<h1>Does the curriculum beat shuffling?</h1>",
        *(f"<p>{escape(line)}</p>" for line in headline(analysis).split("\n")),
        f'<p class="soft">{escape(power_sentence(analysis))}</p>',
        *_effects(analysis),
        *_explanations(analysis),
        "<h2>Scores</h2>",
        *(_scores(measure, curves) for measure, curves in zip(analysis.measures, analysis.curves, strict=True)),
        "<h2>Over training</h2>",
        '<p class="soft">Bands: 95 % intervals, Student\'s t over seeds; for differences, over seeds and items.</p>',
        '<div class="charts">',
        *(svg(chart) for chart in _charts(analysis)),
        "</div>",
        "<h2>Which examples were seen how often</h2>",
        '<p class="soft">Tenths of the corpus by the difficulty of the curriculum, easiest first; 1 is what uniform '
        "sampling gives.</p>",
        '<div class="charts">',
        *(svg(_exposure_chart(exposure, schedule)) for schedule in analysis.schedules[:1]),
        "</div>",
        "<h2>Cost</h2>",
        _cost_table(costs),
        "<h2>How it was made</h2>",
        _made(found, runs),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>e2lm train compare</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


# -- tables ---------------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _effects(analysis: Analysis) -> list[str]:
    if not analysis.effects:
        return []
    head = ["arm", "learning rate", "measure", "verdict", "difference at the end [95 %]", "p (Holm)", "detectable"]
    head += ["mean over training [95 %]", "tokens to vanilla's late score", "over the run"]
    return [
        "<h2>Against vanilla</h2>",
        '<p class="soft">Paired by seed and item; the verdict is Holm-adjusted over the measures of an arm. '
        "Detectable: the smallest true difference seen in at least 80 of 100 such experiments.</p>",
        _table(head, [_effect_row(one) for one in analysis.effects]),
    ]


def _effect_row(one: ArmEffect) -> list[str]:
    return [
        escape(one.arm),
        escape(one.schedule),
        escape(one.measure),
        f'<span class="{one.final.word.split()[0]}">{one.final.word}</span>',
        interval(one.final.difference, sign=True),
        f"{one.final.p_holm:.2g}",
        f"{one.final.detectable:.3g}",
        interval(one.area, sign=True),
        escape(one.threshold.sentence),
        escape(one.course.sentence),
    ]


def _explanations(analysis: Analysis) -> list[str]:
    if not analysis.explanations:
        return []
    rows = [
        [
            escape(name),
            escape(schedule),
            interval(one.total.difference, sign=True),
            interval(one.reweighting.difference, sign=True),
            interval(one.order.difference, sign=True),
            escape(one.sentence),
        ]
        for name, schedule, one in analysis.explanations
    ]
    head = ["measure", "learning rate", "curriculum - vanilla", "re-weighting alone", "order alone", "what explains it"]
    return [
        "<h2>Re-weighting or order?</h2>",
        '<p class="soft">The exposure-matched arm sees the examples of the curriculum exactly as often, in random '
        "order.</p>",
        _table(head, rows),
    ]


def _scores(measure: Measure, curves: Sequence[ArmCurve]) -> str:
    rows = [[escape(name), "", f"{value:.4f}", "", ""] for name, value in measure.baselines.items()]
    rows.append(["step 0", "", f"{curves[0].mean_K[0].value:.4f}", "", ""])
    rows += [
        [
            escape(curve.arm),
            escape(curve.schedule),
            interval(curve.mean_K[-1]),
            f"{curve.sd_of_seeds:.4f}",
            interval(curve.area),
        ]
        for curve in curves
    ]
    better = "higher" if measure.higher_is_better else "lower"
    head = [f"{measure.name}: {measure.unit}, {better} is better, {measure.items} items", "learning rate"]
    return _table([*head, "at the end [95 %]", "sd between seeds", "mean over training [95 %]"], rows)


def _cost_table(costs: Sequence[ArmCost]) -> str:
    head = ["arm", "learning rate", "tokens", "different tokens", "epochs", "FLOPs", "wall time", "scoring (CPU)"]
    rows = [
        [
            escape(one.arm),
            escape(one.schedule),
            f"{one.tokens:,.0f}",
            f"{one.unique_tokens:,.0f}",
            f"{one.epochs:.2f}",
            f"{one.flops:.4g}",
            f"{one.wall_s:.0f} s",
            f"{one.scoring_cpu_s:.1f} s",
        ]
        for one in costs
    ]
    return _table(head, rows)


def _made(found: Mapping[str, Any], runs: Sequence[FinishedRun]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(runs[0].record.versions.items()))
    hidden = {"corpus", "arm", "init_seed", "order_seed", "schedule", "curriculum"}
    config = {name: value for name, value in runs[0].record.config.items() if name not in hidden}
    return (
        f'<p class="soft">{len(runs)} runs of {runs[0].series.params:,} parameters '
        f"({runs[0].series.params_non_embedding:,} without the embedding). {escape(versions)}</p>"
        f"<pre>curriculum: {escape(json.dumps(found['curriculum']))}\n{escape(json.dumps(config, indent=1))}</pre>"
    )


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
        title=f"{measure.name} (learning rate {schedule})",
        x_label="training tokens (log scale)",
        y_label=measure.unit,
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
        marks=[Mark(name, value) for name, value in measure.baselines.items() if measure.higher_is_better],
        log_x=True,
    )


def _difference_chart(measure: Measure, effects: Sequence[ArmEffect], schedule: str) -> Chart:
    shown = [k for k, tokens in enumerate(measure.tokens_K) if tokens > 0]
    better = "above" if measure.higher_is_better else "below"
    return Chart(
        title=f"{measure.name}: arm minus vanilla ({schedule})",
        x_label="training tokens (log scale)",
        y_label=f"{measure.unit}; {better} 0 is better",
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
        marks=[Mark("vanilla", 0.0)],
        log_x=True,
        description=f"{measure.name} against vanilla up to {short(measure.tokens_K[-1])} tokens",
    )


def _exposure_chart(exposure: Mapping[tuple[str, str], Sequence[float]], schedule: str) -> Chart:
    return Chart(
        title="exposure by difficulty",
        x_label="tenth of the examples, easiest first",
        y_label="times uniform",
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
