"""The demo's report, one HTML file and one picture; a new section goes into the parts of ``report_html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from e2lm.chart import CATEGORIES, Chart, Line, Mark, ramp, svg
from e2lm.interval import Interval, normal_quantile
from e2lm.messages import Html, ends, interval, short
from e2lm.page import Page, figures, note, section, strong, table
from e2lm.scores import Scores
from e2lm_demo.findings import LOSS_METRIC, LOSS_TASK, DemoFindings, PredictorResult, TaskFinding
from e2lm_demo.messages import say

#: Share of pairs that guessing orders rightly.
BLIND = 0.5
#: Letters of a name that is too long for an axis.
LONG_NAME = 24


def report_html(
    findings: DemoFindings, scores: Scores, versions: Mapping[str, str], wall_s: Mapping[str, float]
) -> str:
    """The whole page."""
    curves = [curve_chart(scores.frame, f.task, f.metric, findings, f.chance) for f in _by_task(findings.findings)]
    parts = [
        answer(findings),
        figures(main_charts(findings, scores.frame)),
        section(say("every_task")),
        note(say("every_task_note", tokens=findings.early_tokens)),
        _signal_table(findings.findings),
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


def answer(findings: DemoFindings) -> str:
    """The finding in a few sentences."""
    best = findings.findings[0]
    trained = say("trained", count=len(findings.models), order=" < ".join(findings.true_order))
    told = {"tokens": findings.early_tokens, "name": name_of(best), "right": best.early_right, "range": _early(best)}
    if best.early_low <= BLIND:
        return f"{trained} {say('nothing_early', **told)} {_first_of_many(findings)}"
    sentences = [trained, _best_early(findings, told), _first_of_many(findings)]
    blind = sorted({_task(f) for f in findings.findings} - {_task(f) for f in findings.findings if f.early_low > BLIND})
    if blind:
        sentences.append(say("blind", tasks=blind))
    return " ".join(sentences)


def _first_of_many(findings: DemoFindings) -> str:
    """What a reader must know of a curve that was picked: from how many, and what became of it."""
    best = findings.findings[0]
    known = best.settled_tokens
    settled = say("never_settles") if known is None else say("settles", tokens=known)
    return say("first_of_many", curves=len(findings.findings), last=best.last_right, settled=settled)


def _best_early(findings: DemoFindings, told: Mapping[str, object]) -> str:
    best = findings.findings[0]
    twin = next((f for f in findings.findings if f.task == best.task and f.metric == "acc" and f is not best), None)
    if twin is None:
        return say("best_early", **told)
    return say("best_early_beside_accuracy", accuracy=twin.early_right, accuracy_range=_early(twin), **told)


def _early(finding: TaskFinding) -> Interval:
    return Interval(finding.early_low, finding.early_high)


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
    """Accuracy beside the continuous metric of the same answers, on the task where the latter did best."""
    continuous = [finding for finding in findings.findings if finding.metric != "acc"]
    best = continuous[0] if continuous else findings.findings[0]
    chance = next((f.chance for f in findings.findings if f.task == best.task and f.metric == "acc"), None)
    return [
        curve_chart(frame, best.task, "acc", findings, chance),
        curve_chart(frame, best.task, best.metric, findings, best.chance),
    ]


def curve_chart(frame: pd.DataFrame, task: str, metric: str, findings: DemoFindings, chance: float | None) -> Chart:
    """One task and metric over tokens, one line per model."""
    lines = []
    for model, color in zip(findings.models, ramp(len(findings.models)), strict=True):
        rows = frame[(frame["task"] == task) & (frame["metric"] == metric) & (frame["series"] == model)]
        rows = rows.sort_values("step")
        half = normal_quantile() * rows["stderr"].to_numpy()
        value = rows["value"].to_numpy()
        lines.append(
            Line(
                label=model,
                x=[float(tokens) for tokens in rows["tokens"]],
                y=[float(one) for one in value],
                low=[float(one) for one in value - half],
                high=[float(one) for one in value + half],
                color=color,
            )
        )
    return Chart(
        title=f"{task.removeprefix('e2lm_early_')}: {metric}",
        x_label=say("training_tokens"),
        y_label=_axis(metric),
        lines=lines,
        marks=[] if chance is None else [Mark(say("chance"), chance)],
        log_x=True,
    )


def _axis(metric: str) -> str:
    """The metric, or its unit where its name is long."""
    name = say.word("metric", metric)
    if len(name) < LONG_NAME:
        return name
    return say("nats_per_byte") if metric.endswith("per_byte") else say("probability")


def prediction_chart(findings: DemoFindings, frame: pd.DataFrame) -> Chart:
    """Losses over tokens, with forecast and truth of the largest model at its end."""
    base = curve_chart(frame, LOSS_TASK, LOSS_METRIC, findings, None)
    end = max(max(line.x) for line in base.lines)
    lines = list(base.lines)
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
        x_label=base.x_label,
        y_label=say("loss_axis"),
        lines=lines,
        log_x=True,
    )


# -- tables -------------------------------------------------------------------------------------------------------


def _by_task(findings: Sequence[TaskFinding]) -> list[TaskFinding]:
    return sorted(findings, key=lambda finding: (finding.task, finding.metric))


def table_columns(findings: Sequence[TaskFinding]) -> list[str]:
    """Signal scores worth a column: the official total, and the corrected one where it is installed."""
    known = findings[0].scores if findings else {}
    return [name for name in ("e2lmc_sq", "signal_quality") if name in known]


def _signal_table(findings: Sequence[TaskFinding]) -> Html:
    columns = table_columns(findings)
    head = ("task", "metric", "chance", "largest_last", "right_early", "right_last", "settled_at")
    rows = [
        [
            _task(finding),
            finding.metric,
            "" if finding.chance is None else f"{finding.chance:.2f}",
            f"{finding.last_value:.3f} ± {normal_quantile() * finding.last_stderr:.3f}",
            _right_early(finding),
            f"{finding.last_right:.0%}",
            say("never") if finding.settled_tokens is None else short(finding.settled_tokens),
            *(_defined(finding.scores.get(name)) for name in columns),
        ]
        for finding in findings
    ]
    return table(say("every_task"), [*map(say, head), *columns], rows, numbers=range(2, len(head) + len(columns)))


def _right_early(finding: TaskFinding) -> str:
    right = interval(finding.early_right, _early(finding), ".0%")
    return strong(right, good=True) if finding.early_low > BLIND else right


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
