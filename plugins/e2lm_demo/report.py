"""The demo's report: one HTML file that needs no network, and one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from e2lm.chart import CATEGORIES, Chart, Line, Mark, ramp, svg
from e2lm.interval import normal_quantile
from e2lm.messages import short
from e2lm.scores import Scores
from e2lm_demo.findings import LOSS_METRIC, LOSS_TASK, DemoFindings, PredictorResult, TaskFinding

#: Share of pairs that guessing orders rightly.
BLIND = 0.5

METRIC_NAMES = {
    "acc": "accuracy",
    "norm_correct_prob": "probability of the truth among the choices",
    "gold_minus_mean_wrong_per_byte": "log-likelihood, truth minus mean of the wrong, per byte",
    LOSS_METRIC: "bits per byte",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff; --good: #1a7f37; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --paper: #0d1117; --good: #3fb950; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.soft, .soft, figcaption { color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 1rem; }
.charts svg, figure svg { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; } th, td { padding: .3rem .7rem; text-align: right; }
td { white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
thead th { border-bottom: 2px solid var(--line); } tbody tr { border-bottom: 1px solid var(--line); }
.good { color: var(--good); font-weight: 600; } figure { margin: 1rem 0; } code { font-size: .9em; }
"""


def report_html(
    findings: DemoFindings, scores: Scores, versions: Mapping[str, str], wall_s: Mapping[str, float]
) -> str:
    """The whole page."""
    body = [
        "<h1>Which benchmark told the truth early?</h1>",
        f"<p>{escape(answer(findings))}</p>",
        '<div class="charts">',
        *(svg(chart) for chart in main_charts(findings, scores.frame)),
        "</div>",
        "<h2>Every task and metric</h2>",
        _table_note(findings),
        _signal_table(findings.findings),
        "<h2>The largest model's loss, predicted from the smaller ones</h2>",
        f"<p>{escape(prediction_sentence(findings.predictors))}</p>",
        f'<div class="charts">{svg(prediction_chart(findings, scores.frame))}</div>',
        _prediction_table(findings.predictors),
        "<h2>All curves</h2>",
        '<p class="soft">Bands: 90 % interval from the items of the task '
        f"(mean &plusmn; {normal_quantile():.3f} standard errors).</p>",
        '<div class="charts">',
        *(svg(curve_chart(scores.frame, f.task, f.metric, findings, f.chance)) for f in _by_task(findings.findings)),
        "</div>",
        "<h2>How it was made</h2>",
        f'<p class="soft">{escape(_made(versions, wall_s))}</p>',
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>e2lm demo</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


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
    early = short(findings.early_tokens)
    text = (
        f"{len(findings.models)} language models were trained. At the end, text they never saw orders them "
        f"{' < '.join(findings.true_order)} (lowest loss first). "
    )
    if best.early_low <= BLIND:
        return text + (
            f"After {early} tokens no task told that order better than guessing: the nearest, {name_of(best)}, ordered "
            f"{_right(best)} of the pairs of models that way."
        )
    text += f"After {early} tokens, {name_of(best)} already ordered {_right(best)} of the pairs of models that way"
    twin = next((f for f in findings.findings if f.task == best.task and f.metric == "acc" and f is not best), None)
    if twin is not None:
        text += f"; accuracy on the same answers, {_right(twin)}"
    blind = sorted({_task(f) for f in findings.findings} - {_task(f) for f in findings.findings if f.early_low > BLIND})
    return text + "." + (f" No better than guessing then: {', '.join(blind)}." if blind else "")


def _right(finding: TaskFinding) -> str:
    return f"{finding.early_right:.0%} (90 % interval {finding.early_low:.0%} to {finding.early_high:.0%})"


def _task(finding: TaskFinding) -> str:
    return finding.task.removeprefix("e2lm_early_")


def name_of(finding: TaskFinding) -> str:
    """Task and metric in words."""
    return f"{_task(finding)} by {METRIC_NAMES.get(finding.metric, finding.metric)}"


def prediction_sentence(predictors: Sequence[PredictorResult]) -> str:
    """What was forecast and what came out."""
    made = [result for result in predictors if result.forecast is not None]
    laws = [result for result in made if not result.is_baseline]
    baselines = [result for result in made if result.is_baseline]
    if not laws:
        return "No law could be fitted: " + "; ".join(f"{result.name}: {result.why_not}" for result in predictors)
    first = laws[0]
    assert first.forecast is not None
    assert first.error is not None
    low, high = first.forecast.low, first.forecast.high
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    text = (
        f"The {first.name} law forecast {first.forecast.value:.3f}{interval} bits per byte; "
        f"{first.truth:.3f} came out ({first.error:+.1%})"
    )
    if baselines:
        near = min(baselines, key=lambda result: abs(result.error or 0.0))
        assert near.forecast is not None
        assert near.error is not None
        text += f". The best of the baselines, {near.name}, said {near.forecast.value:.3f} ({near.error:+.1%})"
    return text + "."


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
        x_label="training tokens (log scale)",
        y_label=METRIC_NAMES.get(metric, metric)
        if len(METRIC_NAMES.get(metric, metric)) < 24
        else "nats per byte"
        if metric.endswith("per_byte")
        else "probability",
        lines=lines,
        marks=[] if chance is None else [Mark("chance", chance)],
        log_x=True,
    )


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
        lines.append(Line(f"forecast ({result.name})", [end, end, end], [low, forecast.value, high], color=color))
        break
    return Chart(
        title="held-out text: bits per byte",
        x_label=base.x_label,
        y_label="bits per byte (lower is better)",
        lines=lines,
        log_x=True,
        width=560,
        height=340,
    )


# -- tables -------------------------------------------------------------------------------------------------------


def _by_task(findings: Sequence[TaskFinding]) -> list[TaskFinding]:
    return sorted(findings, key=lambda finding: (finding.task, finding.metric))


def _table_note(findings: DemoFindings) -> str:
    return (
        '<p class="soft">Pairs right: share of pairs of models ordered as their final held-out loss orders them, '
        f"after {short(findings.early_tokens)} tokens, ties one half, with a 90 % interval from the items. Settled: "
        "from how many tokens on every checkpoint orders all pairs rightly. Signal scores: mean over the models.</p>"
    )


def table_columns(findings: Sequence[TaskFinding]) -> list[str]:
    """Signal scores worth a column: the official total, and the corrected one where it is installed."""
    known = findings[0].scores if findings else {}
    return [name for name in ("e2lmc_sq", "signal_quality") if name in known]


def _signal_table(findings: Sequence[TaskFinding]) -> str:
    columns = table_columns(findings)
    head = ["task", "metric", "chance", "largest model, last", "pairs right early", "pairs right last", "settled at"]
    rows = []
    for finding in findings:
        clear = finding.early_low > BLIND
        right = f"{finding.early_right:.0%} [{finding.early_low:.0%}, {finding.early_high:.0%}]"
        cells = [
            finding.task.removeprefix("e2lm_early_"),
            finding.metric,
            "" if finding.chance is None else f"{finding.chance:.2f}",
            f"{finding.last_value:.3f} &plusmn; {normal_quantile() * finding.last_stderr:.3f}",
            f'<span class="good">{right}</span>' if clear else right,
            f"{finding.last_right:.0%}",
            "never" if finding.settled_tokens is None else short(finding.settled_tokens),
            *(_number(finding.scores.get(name)) for name in columns),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _table([*head, *columns], rows)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _prediction_table(predictors: Sequence[PredictorResult]) -> str:
    rows = []
    for result in predictors:
        kind = "baseline" if result.is_baseline else "law"
        forecast = result.forecast
        if forecast is None or result.error is None:
            why = escape(result.why_not or "")
            rows.append(f"<tr><td>{result.name}</td><td>{kind}</td><td colspan=4>{why}</td></tr>")
            continue
        interval = forecast.reason or ""
        if forecast.low is not None and forecast.high is not None:
            interval = f"{forecast.low:.3f} to {forecast.high:.3f}"
        rows.append(
            f"<tr><td>{result.name}</td><td>{kind}</td><td>{forecast.value:.3f}</td><td>{escape(interval)}</td>"
            f"<td>{result.truth:.3f}</td><td>{result.error:+.1%}</td></tr>"
        )
    return _table(["predictor", "kind", "forecast", "90 % interval", "came out", "error"], rows)


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _made(versions: Mapping[str, str], wall_s: Mapping[str, float]) -> str:
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in wall_s.items())
    packages = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"One command: e2lm demo. Time: {steps} ({np.sum(list(wall_s.values())):.0f} s in all). {packages}."
