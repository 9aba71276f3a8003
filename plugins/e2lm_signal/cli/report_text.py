"""The report as text: what to use and how early, then tables with the best on top, then why numbers are missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from e2lm import ScoreValue, SignalScore
from e2lm_signal.benchmark_rise import NAME as RISES
from e2lm_signal.cli.report_rows import MeanRow, ReportRow, SignalReport
from e2lm_signal.cli.text_table import text_table, wrapped
from e2lm_signal.decisions import EARLY_SHARE, SETTLED
from e2lm_signal.messages import say
from e2lm_signal.reconstructed_score import is_reconstructed

#: What is shown where --scores does not say; JSON has all.
BRIEF_OF_CURVE = ("signal_quality", "gain_over_noise", "e2lmc_sq")
BRIEF_OF_FAMILY = ("signal_quality", RISES, "decision_accuracy", "settling_share", "sn_snr", "e2lmc_sq")
#: Of these less is better.
LESS_IS_BETTER = ("sn_noise", "settling_share", "fluid_total_variation")
#: So many rows and reasons are shown unless all are asked for.
MOST_ROWS, MOST_REASONS = 40, 12
#: So many tasks are named in one sentence of the verdict.
MOST_NAMED = 3
#: Fewer series than this make too few pairs for their order to say which benchmark is best.
LEAST_SERIES = 4


def as_text(report: SignalReport, scores: Sequence[SignalScore], brief: bool, full: bool = False) -> str:
    """The verdict and two tables, best first: all series together, then every curve. ``brief``: the main scores only;
    ``full``: every row and reason.
    """
    means = sorted(report.means, key=_worth)
    place = {(mean.task, mean.metric): index for index, mean in enumerate(means)}
    rows = sorted(report.rows, key=lambda row: (place[row.task, row.metric], row.series))
    labels = {score.name: f"{score.name} (reconstructed)" for score in scores if is_reconstructed(score)}
    mean_names = _shown([mean.scores for mean in means], BRIEF_OF_FAMILY, brief)
    row_names = _shown([row.scores for row in rows], BRIEF_OF_CURVE, brief)
    lines = [*wrapped(verdict(means, rows)), ""] if len(means) > 1 or brief else []
    lines.append(say("over_all_series"))
    lines += cut_rows(_mean_table(means if full else means[:MOST_ROWS], mean_names, labels), len(means), full)
    lines += [
        "",
        say("every_curve"),
        *cut_rows(_row_table(rows if full else rows[:MOST_ROWS], row_names, labels), len(rows), full),
    ]
    return "\n".join([*lines, *_reasons(means, mean_names, rows, row_names, full)])


# -- tables ---------------------------------------------------------------------------------------------------------


def _mean_table(means: Sequence[MeanRow], names: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    tested = any(RISES in mean.scores for mean in means)
    head = ["all series", "task", "metric", "series", *(labels.get(name, name) for name in names)]
    head += ["p"] if tested else []
    series = {mean.series for mean in means}
    cells = [
        [
            _over(mean.series),
            mean.task,
            mean.metric,
            str(len(mean.series)),
            *(_cell(mean.scores[name]) for name in names),
            *([_p(mean.scores[RISES])] if tested else []),
        ]
        for mean in means
    ]
    if len(series) == 1:  # one and the same family everywhere: the column would say the same in every row
        return text_table(head[1:], [row[1:] for row in cells], 2)
    return text_table(head, cells, 3)


def _over(series: Sequence[str]) -> str:
    return ", ".join(series) if len(series) <= 2 else f"{len(series)} series"


def _row_table(rows: Sequence[ReportRow], names: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    tested = any(value.p is not None for row in rows for value in row.scores.values())
    head = ["series", "task", "metric", "n", *(labels.get(name, name) for name in names), *(["p"] if tested else [])]
    cells = []
    for row in rows:
        tests = [value for value in row.scores.values() if value.p is not None]
        p = ([_p(tests[0])] if tests else [""]) if tested else []
        cells.append([row.series, row.task, row.metric, str(row.n), *_cells(row.scores, names), *p])
    return text_table(head, cells, 3)


def _p(value: ScoreValue) -> str:
    return "" if value.p is None else f"{value.p:.4f}"


def cut_rows(lines: list[str], count: int, full: bool) -> list[str]:
    """The ``lines`` of a table of :data:`MOST_ROWS` at most, and how many of its ``count`` rows are not shown."""
    return lines if full or count <= MOST_ROWS else [*lines, say("rows_not_shown", left_out=count - MOST_ROWS)]


def _shown(scores: Sequence[Mapping[str, ScoreValue]], main: Sequence[str], brief: bool) -> list[str]:
    """All scores, or of the main ones those that are defined somewhere."""
    if not brief:
        return list(scores[0])
    there = [name for name in main if any(name in one and one[name].value is not None for one in scores)]
    return there or [name for name in main if name in scores[0]] or list(scores[0])


def _cells(scores: Mapping[str, ScoreValue], names: Sequence[str]) -> list[str]:
    return [_cell(scores[name]) for name in names]


def _cell(value: ScoreValue) -> str:
    if value.value is None:
        return "undefined"
    if value.low is None or value.high is None:
        return f"{value.value:.5f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _reasons(
    means: Sequence[MeanRow], mean_names: Sequence[str], rows: Sequence[ReportRow], row_names: Sequence[str], full: bool
) -> list[str]:
    """Each reason once, with the scores that give it, those of most rows first."""
    told: Counter[tuple[str, str]] = Counter()
    for scores, names in (*((mean.scores, mean_names) for mean in means), *((row.scores, row_names) for row in rows)):
        told.update((str(scores[name].reason), name) for name in names if scores[name].reason)
    by_reason: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for (reason, name), count in told.items():
        by_reason.setdefault(reason, []).append(name)
        counts[reason] += count
    ordered = sorted(by_reason, key=lambda reason: (-counts[reason], reason))
    shown = ordered if full else ordered[:MOST_REASONS]
    lines = [
        f"reason: {', '.join(dict.fromkeys(by_reason[reason]))} ({_rows(counts[reason])}): {reason}" for reason in shown
    ]
    if len(ordered) > len(shown):
        lines.append(say("reasons_not_shown", left_out=len(ordered) - len(shown)))
    return ["", *lines] if lines else []


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


# -- verdict --------------------------------------------------------------------------------------------------------


def verdict(means: Sequence[MeanRow], rows: Sequence[ReportRow]) -> list[str]:
    """Which task and metric to use, how early, how sure; ``means`` are sorted, the best first."""
    best = means[0]
    decision = best.scores.get("decision_accuracy")
    if decision is not None and decision.value is not None and len(best.series) >= LEAST_SERIES:
        return _by_decisions(means)
    if (quality := best.scores.get("signal_quality")) is not None and quality.value is not None:
        return _by_quality(means, rows)
    return _by_first_score(means)


def _by_decisions(means: Sequence[MeanRow]) -> list[str]:
    best = means[0]
    decision, settles = best.scores["decision_accuracy"], best.scores.get("settling_share")
    sentence = "no_use_by_decisions" if _is_coin_toss(decision) else "use_by_decisions"
    told = {"series": len(best.series), "early": EARLY_SHARE, "value": decision.value, "ends": _ends(decision)}
    lines = [say(sentence, task=best.task, metric=best.metric, **told)]
    if settles is not None and settles.value is not None:
        lines.append(say("how_early", share=settles.value, settled=SETTLED))
    level = [mean for mean in means[1:] if _reaches(mean.scores.get("decision_accuracy"), decision.low)]
    if level:
        lines.append(say("as_good", count=len(level), names=_named(level)))
    blind = [mean for mean in means if _is_coin_toss(mean.scores.get("decision_accuracy"))]
    if blind:
        lines.append(say("coin_tosses", count=len(blind), total=len(means), names=_named(blind)))
    return lines


def _reaches(value: ScoreValue | None, low: float | None) -> bool:
    return value is not None and value.value is not None and low is not None and value.value >= low


def _is_coin_toss(value: ScoreValue | None) -> bool:
    """Whether guessing the order of the series would do as well, as far as these can tell."""
    if value is None or value.value is None:
        return False
    return (value.low if value.low is not None else value.value) <= 0.5


def _by_quality(means: Sequence[MeanRow], rows: Sequence[ReportRow]) -> list[str]:
    best = means[0]
    own = [row.scores["signal_quality"] for row in rows if (row.task, row.metric) == (best.task, best.metric)]
    tests = [value.p for value in own if value.p is not None]
    sure = sum(p < 0.05 for p in tests)
    value = best.scores["signal_quality"].value
    rises = value is not None and value > 0
    sentence = "use_by_quality" if rises else "nothing_rises"
    lines = [say(sentence, task=best.task, metric=best.metric, value=value, sure=sure, series=len(own))]
    if rises and not sure:
        lines.append(say("nothing_surely_rises"))
    if len(own) < LEAST_SERIES:
        lines.append(say("no_decisions", series=len(own), least=LEAST_SERIES))
    return lines


def _by_first_score(means: Sequence[MeanRow]) -> list[str]:
    name = next(iter(means[0].scores))
    if means[0].scores[name].value is None:
        return [say("nothing_defined", name=name)]
    return [say("first_by_score", name=name, task=means[0].task, metric=means[0].metric)]


def _ends(value: ScoreValue) -> str:
    if value.low is None or value.high is None:
        return say("no_interval")
    return f"[{value.low:.0%}, {value.high:.0%}]"


def _named(means: Iterable[MeanRow]) -> str:
    names = [f"{mean.task} {mean.metric}" for mean in means]
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown}, ..." if len(names) > MOST_NAMED else shown


def _worth(mean: MeanRow) -> tuple[float, ...] | tuple[object, ...]:
    """What the best is first by: decisions where there are enough series, then quality, then what was asked for."""
    names = ["decision_accuracy"] if len(mean.series) >= LEAST_SERIES else []
    names += ["signal_quality", *mean.scores]
    keys = [_descending(name, mean.scores[name].value) for name in names if name in mean.scores]
    return (*keys, mean.task, mean.metric)


def _descending(name: str, value: float | None) -> float:
    if value is None:
        return math.inf
    return value if name.partition(".")[0] in LESS_IS_BETTER else -value
