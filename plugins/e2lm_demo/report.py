"""The demo's report, one HTML file and one picture; a new section goes into the parts of ``report_html``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from e2lm.chart import CATEGORIES, Chart, Line, Mark, ramp, svg
from e2lm.interval import normal_quantile
from e2lm.messages import Html, ends, interval
from e2lm.page import Page, figures, note, section, strong, table
from e2lm.scores import Scores
from e2lm_demo.findings import (
    LADDER,
    LOSS_METRIC,
    LOSS_TASK,
    RECIPE_RUNS,
    DemoFindings,
    PredictorResult,
    TaskFinding,
)
from e2lm_demo.messages import say
from e2lm_demo.told_apart import PairTold

#: Letters of a name that is too long for an axis.
LONG_NAME = 24
#: Of a line that is no run; to be seen on light and dark pages.
INK = "#818b98"


def report_html(
    findings: DemoFindings, scores: Scores, versions: Mapping[str, str], wall_s: Mapping[str, float]
) -> str:
    """The whole page."""
    curves = [curve_chart(scores.frame, one) for one in _by_task(findings.findings)]
    parts = [
        planted(findings),
        answer(findings),
        figures(main_charts(findings, scores.frame)),
        section(say("every_task")),
        note(say("every_task_note", comparisons=findings.comparisons)),
        _signal_table(findings),
        section(say("prediction")),
        prediction_sentence(findings.predictors),
        figures([prediction_chart(findings, scores.frame)]),
        _prediction_table(findings.predictors),
        section(say("all_curves")),
        note(say("all_curves_note", quantile=normal_quantile())),
        figures(curves),
        section(say("how_made")),
        note(_made(versions, wall_s)),
    ]
    return Page(say("heading"), parts, title="e2lm demo", language=say.language).html()


def picture_svg(findings: DemoFindings, scores: Scores) -> str:
    """The main charts side by side, as a file of its own."""
    left, right = (svg(chart, standalone=True) for chart in main_charts(findings, scores.frame))
    height = max(_height(left), _height(right))
    moved = right.replace("<svg ", '<svg x="440" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" width="860" height="{height}">'
        f"{left}{moved}</svg>\n"
    )


def _height(element: str) -> int:
    return int(element.split('height="', 1)[1].split('"', 1)[0])


# -- sentences ----------------------------------------------------------------------------------------------------


def planted(findings: DemoFindings) -> str:
    """What was trained, and which is known to be better."""
    order = "; ".join(say.word("recipe", recipe) for recipe in findings.true_order)
    return say("planted", count=len(findings.models), order=order)


def answer(findings: DemoFindings) -> str:
    """The finding in a few sentences."""
    sentences = [_told(findings)]
    if findings.claims:
        sentences += [*_accuracy(findings), *_saves(findings), _true(findings)]
    told = {_task(one) for one in findings.findings if one.told}
    blind = sorted({_task(one) for one in findings.findings} - told)
    if blind and told:
        sentences.append(say("blind", tasks=blind))
    return " ".join(sentences)


def _told(findings: DemoFindings) -> str:
    best = findings.findings[0]
    looks = findings.comparisons
    if not best.told:
        return say("told_none", comparisons=looks)
    if best.share_of_all is None:
        return say("told_some", name=name_of(best), pairs=_pairs(best), comparisons=looks)
    return say("told_all", name=name_of(best), share=best.share_of_all, comparisons=looks)


def _pairs(finding: TaskFinding) -> list[str]:
    return [say("pair_from", better=one.better, worse=one.worse, share=one.share) for one in finding.told]


def _accuracy(findings: DemoFindings) -> list[str]:
    """What accuracy made of the answers that told best, where something else did."""
    best = findings.findings[0]
    twin = next((one for one in findings.findings if (one.task, one.metric) == (best.task, "acc")), None)
    if twin is None or twin is best:
        return []
    if twin.share_of_all is not None:
        return [say("accuracy_all", share=twin.share_of_all)]
    return [say("accuracy_some", pairs=_pairs(twin)) if twin.told else say("accuracy_none")]


def _saves(findings: DemoFindings) -> list[str]:
    """Of three runs of one size, what the two that are not the best need not be trained for."""
    best = findings.true_order[0]
    pairs = [pair for pair in findings.findings[0].pairs if pair.better == best]
    shares = [pair.share for pair in pairs if pair.share is not None and pair.is_right]
    if len(shares) < len(pairs):
        return []
    return [say("saves", best=best, share=max(shares), saved=2.0 / 3.0 * (1.0 - max(shares)))]


def _true(findings: DemoFindings) -> str:
    wrong = sum(pair.is_right is False for pair in findings.claims)
    if not wrong:
        return say("all_true", claims=len(findings.claims))
    return say("some_untrue", claims=len(findings.claims), wrong=wrong)


def _task(finding: TaskFinding) -> str:
    return finding.task.removeprefix("e2lm_early_")


def name_of(finding: TaskFinding) -> str:
    """Task and metric in words."""
    return say("task_by_metric", task=_task(finding), metric=say.word("metric", finding.metric))


def prediction_sentence(predictors: Sequence[PredictorResult]) -> str:
    """What was forecast and what came out."""
    made = [result for result in predictors if result.forecast is not None]
    laws = [result for result in made if not result.is_baseline]
    baselines = [result for result in made if result.is_baseline]
    if not laws:
        return say("no_law", reasons="; ".join(f"{result.name}: {result.why_not}" for result in predictors))
    first = laws[0]
    assert first.forecast is not None
    told = {
        "name": first.name,
        "forecast": interval(first.forecast.value, first.forecast),
        "truth": first.truth,
        "error": first.error,
    }
    if not baselines:
        return say("law_forecast", **told)
    near = min(baselines, key=lambda result: abs(result.error or 0.0))
    assert near.forecast is not None
    return say("law_and_baseline", baseline=near.name, said=near.forecast.value, baseline_error=near.error, **told)


# -- charts -------------------------------------------------------------------------------------------------------


def main_charts(findings: DemoFindings, frame: pd.DataFrame) -> list[Chart]:
    """Accuracy beside the continuous metric of the same answers, on the task where the latter told most."""
    best = next((one for one in findings.findings if one.metric != "acc"), findings.findings[0])
    plain = next((one for one in findings.findings if (one.task, one.metric) == (best.task, "acc")), best)
    return [curve_chart(frame, plain), curve_chart(frame, best)]


def curve_chart(frame: pd.DataFrame, finding: TaskFinding) -> Chart:
    """One task and metric over the run, a line per run of a recipe, and from where on it tells all recipes apart."""
    rows = frame[(frame["task"] == finding.task) & (frame["metric"] == finding.metric)]
    lines = [
        _run_line(rows, run, color, dashed=bool(seed))
        for (_, runs), color in zip(RECIPE_RUNS.items(), CATEGORIES, strict=False)
        for seed, run in enumerate(runs)
    ]
    if finding.share_of_all is not None:
        ends = [edge for line in lines for edge in (line.low or line.y, line.high or line.y)]
        finite = [one for edge in ends for one in edge if math.isfinite(one)]
        here = [finding.share_of_all] * 2
        lines.append(
            Line(say("told_from_here"), here, [min(finite), max(finite)], color=INK, points=False, dashed=True)
        )
    return Chart(
        title=f"{_task(finding)}: {finding.metric}",
        x_label=say("share_of_run"),
        y_label=_axis(finding.metric),
        lines=lines,
        marks=[] if finding.chance is None else [Mark(say("chance"), finding.chance)],
    )


def _run_line(rows: pd.DataFrame, run: str, color: str, dashed: bool) -> Line:
    own = rows[rows["series"] == run].sort_values("step")
    value, share = own["value"].tolist(), (own["tokens"] / own["tokens"].max()).tolist()
    half = (normal_quantile() * own["stderr"]).tolist()
    return Line(
        label=run,
        x=share,
        y=value,
        low=[one - wide for one, wide in zip(value, half, strict=True)],
        high=[one + wide for one, wide in zip(value, half, strict=True)],
        color=color,
        dashed=dashed,
        hover=[
            say("at_share", name=run, share=at, value=one, half=wide)
            if math.isfinite(wide)
            else say("at_share_alone", name=run, share=at, value=one)
            for at, one, wide in zip(share, value, half, strict=True)
        ],
    )


def _axis(metric: str) -> str:
    """The metric, or its unit where its name is long."""
    name = say.word("metric", metric)
    if len(name) < LONG_NAME:
        return name
    return say("nats_per_byte") if metric.endswith("per_byte") else say("probability")


def prediction_chart(findings: DemoFindings, frame: pd.DataFrame) -> Chart:
    """Losses over tokens, with forecast and truth of the largest model at its end."""
    rows = frame[(frame["task"] == LOSS_TASK) & (frame["metric"] == LOSS_METRIC)]
    lines = [_loss_line(rows, run, color) for run, color in zip(LADDER, ramp(len(LADDER)), strict=True)]
    end = max(max(line.x) for line in lines)
    for result, color in zip(findings.predictors, CATEGORIES[1:], strict=False):
        forecast = result.forecast
        if forecast is None or result.is_baseline:
            continue  # the table has them all; here the first law's interval can be seen
        low = forecast.value if forecast.low is None else forecast.low
        high = forecast.value if forecast.high is None else forecast.high
        lines.append(
            Line(say("forecast_of", name=result.name), [end, end, end], [low, forecast.value, high], color=color)
        )
        break
    return Chart(
        title=say("loss_chart"),
        x_label=say("training_tokens"),
        y_label=say("loss_axis"),
        lines=lines,
        log_x=True,
    )


def _loss_line(rows: pd.DataFrame, run: str, color: str) -> Line:
    own = rows[(rows["series"] == run) & (rows["tokens"] > 0)].sort_values("step")
    points = list(zip(own["tokens"].tolist(), own["value"].tolist(), strict=True))
    hover = [say("at_tokens", name=run, tokens=at, value=one) for at, one in points]
    return Line(run, [at for at, _ in points], [one for _, one in points], color=color, hover=hover)


# -- tables -------------------------------------------------------------------------------------------------------


def _by_task(findings: Sequence[TaskFinding]) -> list[TaskFinding]:
    return sorted(findings, key=lambda finding: (finding.task, finding.metric))


def table_columns(findings: Sequence[TaskFinding]) -> list[str]:
    """Signal scores worth a column: the official total, and the corrected one where it is installed."""
    known = findings[0].scores if findings else {}
    return [name for name in ("e2lmc_sq", "signal_quality") if name in known]


def _signal_table(findings: DemoFindings) -> Html:
    columns = table_columns(findings.findings)
    pairs = [say("pair", better=one.better, worse=one.worse) for one in findings.findings[0].pairs]
    head = [say("task"), say("metric"), *pairs, say("seeds_apart"), *columns]
    rows = [
        [
            _task(finding),
            say.word("metric", finding.metric),
            *map(_when, finding.pairs),
            f"{finding.seeds_apart:.3f}",
            *(_defined(finding.scores.get(name)) for name in columns),
        ]
        for finding in findings.findings
    ]
    return table(say("every_task"), head, rows, numbers=range(2 + len(pairs), len(head)))


def when(pair: PairTold) -> str:
    """From when on it is told, in words."""
    if pair.share is None:
        return say("never")
    return say("from" if pair.is_right else "from_wrongly", share=pair.share)


def _when(pair: PairTold) -> str:
    return when(pair) if pair.share is None else strong(when(pair), good=bool(pair.is_right))


def _defined(value: float | None) -> str:
    return say("undefined") if value is None else f"{value:.3f}"


def _prediction_table(predictors: Sequence[PredictorResult]) -> Html:
    head = ("predictor", "kind", "forecast", "interval", "came_out", "error")
    return table(say("prediction"), [say(one) for one in head], map(_prediction_row, predictors), numbers=range(2, 6))


def _prediction_row(result: PredictorResult) -> list[str]:
    kind = say.word("kind", "baseline" if result.is_baseline else "law")
    forecast = result.forecast
    if forecast is None or result.error is None:
        return [result.name, kind, result.why_not or ""]
    has_interval = forecast.low is not None and forecast.high is not None
    shown = ends(forecast) if has_interval else forecast.reason or ""
    return [result.name, kind, f"{forecast.value:.3f}", shown, f"{result.truth:.3f}", f"{result.error:+.1%}"]


def _made(versions: Mapping[str, str], wall_s: Mapping[str, float]) -> str:
    steps = [f"{name} {seconds:.0f} s" for name, seconds in wall_s.items()]
    packages = [f"{name} {version}" for name, version in sorted(versions.items())]
    return say("made", steps=steps, seconds=sum(wall_s.values()), packages=packages)
