"""``e2lm signal plot``: curves with bands, ordering over time, signal-to-noise against decisions, as HTML or PNG.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import Curve, UserError
from e2lm.arrays import Values
from e2lm.atomic_file import whole_file, write_text
from e2lm.chart import CATEGORIES, Chart, Line, Mark, ramp, svg
from e2lm.interval import normal_quantile
from e2lm.messages import Html, interval
from e2lm.page import Page, drawing, figures, section, table, toggles
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.input import ScoreInput, read_input
from e2lm_signal.cli.report_text import MOST_NAMED
from e2lm_signal.comparison import Contender, Ranked, contender_in_time, ranked
from e2lm_signal.curves import common_grid
from e2lm_signal.decisions import EARLY_SHARE, FINAL_CHECKPOINTS, decision_accuracy
from e2lm_signal.item_noise import item_noise
from e2lm_signal.messages import say
from e2lm_signal.noise import noise_of

NULL_COLOR = "#818b98"
BILLION = 1e9
#: More lines than this in one chart cannot be told apart.
MOST_LINES = 12
#: Tasks x metrics whose curves are drawn; the best ones, where there are more.
MOST_CURVES = 24
#: Points of the chart of decisions with a name beside them; all tell it to a pointer.
MOST_NAMES = 40
#: Pixels of the chart in which every point carries its name.
NAMED_WIDTH, NAMED_HEIGHT = 860, 560


def horizontal(curve: Curve) -> tuple[list[float], str]:
    """Tokens in billions and their label, or steps where tokens are unknown."""
    if np.isfinite(curve.tokens_K).all():
        scale, unit = (BILLION, "billion_tokens") if curve.tokens_K[-1] >= BILLION / 10 else (1e6, "million_tokens")
        return (curve.tokens_K / scale).tolist(), say(unit)
    return curve.steps_K.astype(float).tolist(), say("step")


def curve_chart(curves: Sequence[Curve]) -> Chart:
    """Every series of one task x metric with its 90 % band, and the band in which a model that learns nothing stays."""
    ordered = sorted(curves, key=lambda curve: (math.isnan(curve.params), curve.params, curve.series))[:MOST_LINES]
    sized = all(math.isfinite(curve.params) for curve in ordered) and len({curve.params for curve in ordered}) > 1
    colors = ramp(len(ordered)) if sized else [CATEGORIES[i % len(CATEGORIES)] for i in range(len(ordered))]
    lines = [_null_band(ordered)]
    for index, (curve, color) in enumerate(zip(ordered, colors, strict=True)):
        lines.append(_curve_line(curve, color, dashed=not sized and index >= len(CATEGORIES)))
    chance = ordered[0].chance
    left_out = len(curves) - len(ordered)
    named = {"task": ordered[0].task, "metric": ordered[0].metric}
    return Chart(
        title=say("curves_of_some", left_out=left_out, **named) if left_out else say("curves", **named),
        x_label=horizontal(ordered[0])[1],
        y_label=ordered[0].metric,
        lines=lines,
        marks=() if chance is None else (Mark(say("chance"), chance),),
    )


def _curve_line(curve: Curve, color: str, dashed: bool) -> Line:
    x, _ = horizontal(curve)
    low_K, high_K = _band_KK(curve)
    low, high = (None, None) if low_K is None or high_K is None else (low_K.tolist(), high_K.tolist())
    hover = [
        say("point", series=curve.series, step=int(step), value=f"{value:.4g}", ends=_ends(low_K, high_K, index))
        for index, (step, value) in enumerate(zip(curve.steps_K, curve.values_K, strict=True))
    ]
    return Line(curve.series, x, curve.values_K.tolist(), low, high, color, dashed=dashed, hover=hover)


def _band_KK(curve: Curve) -> tuple[Values, Values] | tuple[None, None]:
    """The ends of the 90 % interval of the items at every checkpoint, where one is known."""
    noise = item_noise(curve)
    if noise is None:
        return None, None
    half_K = normal_quantile() * np.sqrt(np.diag(noise.covariance_KK))
    return np.asarray(curve.values_K - half_K), np.asarray(curve.values_K + half_K)


def _ends(low_K: Values | None, high_K: Values | None, index: int) -> str:
    if low_K is None or high_K is None or not math.isfinite(low_K[index]):
        return say("no_interval")
    return f"[{low_K[index]:.4g}, {high_K[index]:.4g}]"


def _null_band(curves: Sequence[Curve]) -> Line:
    """Chance (the mean first value where unknown), plus and minus the 90 % range of one checkpoint's noise."""
    noises = [noise for curve in curves if (noise := noise_of(curve)) is not None]
    known = [item_noise(curve) for curve in curves]
    items = [float(np.diag(one.covariance_KK).mean()) for one in known if one is not None]
    half = normal_quantile() * max(float(np.mean(noises)) if noises else 0.0, math.sqrt(max(items, default=0.0)))
    first = float(np.nanmean([curve.values_K[0] for curve in curves]))
    centre = curves[0].chance if curves[0].chance is not None else first
    ends = sorted({position for curve in curves for position in (horizontal(curve)[0][0], horizontal(curve)[0][-1])})
    span = [ends[0], ends[-1]]
    low, high = [centre - half] * 2, [centre + half] * 2
    return Line(say("null_band"), span, [centre] * 2, low, high, NULL_COLOR, points=False, dashed=True)


def curve_pictures(source: ScoreInput) -> list[str]:
    """The curves of the first task x metrics, an SVG element each."""
    return [svg(curve_chart(curves), standalone=True) for curves in islice(source.groups(), MOST_CURVES)]


def ordering_chart(groups: Sequence[Sequence[Curve]]) -> Chart:
    """Share of pairs of series in their final order, over the run; one line per task x metric, the first 12."""
    lines: list[Line] = []
    for curves in groups:
        grid = common_grid(curves)
        if isinstance(grid, str):
            continue
        final_M = grid.values_MK[:, -min(FINAL_CHECKPOINTS, grid.values_MK.shape[1]) :].mean(axis=1)
        accuracy = [decision_accuracy(early_M, final_M) for early_M in grid.values_MK.T]
        label = f"{curves[0].task} {curves[0].metric}"
        hover = [
            say("point_in_order", name=label, step=int(step), share=float(share), value=value)
            for step, share, value in zip(grid.steps_K, grid.share_K, accuracy, strict=True)
        ]
        color, dashed = CATEGORIES[len(lines) % len(CATEGORIES)], len(lines) >= len(CATEGORIES)
        lines.append(Line(label, (100.0 * grid.share_K).tolist(), accuracy, color=color, dashed=dashed, hover=hover))
    left_out = max(0, len(lines) - MOST_LINES)
    return Chart(
        title=say("ordering_of_some", left_out=left_out) if left_out else say("ordering"),
        x_label=say("share_of_run"),
        y_label=say("pairs_in_order"),
        lines=lines[:MOST_LINES],
        marks=(Mark(say("coin_toss"), 0.5),),
        description=say("ordering_description"),
    )


def decision_chart(contenders: Sequence[Contender]) -> Chart:
    """Each task x metric as a point, the best with their names: signal-to-noise ratio across, decision accuracy up."""
    known = [one for one in contenders if math.isfinite(one.snr) and one.snr > 0]
    lines = [_decision_point(one, index) for index, one in enumerate(sorted(known, key=lambda one: -one.value))]
    chart = Chart(
        title=say("decisions"),
        x_label=say("snr"),
        y_label=say("decision_accuracy"),
        lines=lines,
        marks=(Mark(say("coin_toss"), 0.5),),
        log_x=True,
        description=say("decisions_description"),
    )
    if len(lines) <= len(CATEGORIES):
        return chart
    return replace(chart, labelled=True, width=NAMED_WIDTH, height=NAMED_HEIGHT)


def _decision_point(one: Contender, index: int) -> Line:
    name = f"{one.task} {one.metric}"
    hover = [say("point_of_decisions", name=name, value=one.value, snr=one.snr)]
    if index >= MOST_NAMES:  # more would cover each other
        return Line("", [one.snr], [one.value], color=NULL_COLOR, hover=hover)
    return Line(name, [one.snr], [one.value], color=CATEGORIES[index % len(CATEGORIES)], hover=hover)


# -- numbers ----------------------------------------------------------------------------------------------------------


def decision_table(ranking: Sequence[Ranked]) -> Html:
    """Every task x metric with its decision accuracy and signal-to-noise ratio, the best first."""
    head = [say("task"), say("metric"), say("series"), say("decision_accuracy"), say("snr"), say("group")]
    rows = [
        [
            one.contender.task, one.contender.metric, str(len(one.contender.names_M)),
            interval(one.contender.value, one), _shown(one.contender.snr, ".1f"), str(one.group),
        ]
        for one in ranking
    ]  # fmt: skip
    return table(say("decisions"), head, rows, numbers={2, 3, 4, 5})


def curve_table(groups: Sequence[Sequence[Curve]]) -> Html:
    """Where every curve begins and ends, with the interval of its end."""
    head = [say("task"), say("metric"), say("series"), say("checkpoints"), say("first_value"), say("last_value")]
    rows = []
    for curve in (one for curves in groups for one in curves):
        low_K, high_K = _band_KK(curve)
        first, last = (_shown(float(value), ".4f") for value in (curve.values_K[0], curve.values_K[-1]))
        interval = "" if low_K is None else f" {_ends(low_K, high_K, -1)}"
        rows.append([curve.task, curve.metric, curve.series, str(len(curve.values_K)), first, last + interval])
    return table(say("numbers"), head, rows, numbers={3, 4, 5})


def _shown(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else say("undefined")


#: Charts per row of a PNG.
COLUMNS = 3


def write_charts(
    path: Path, title: str, texts: Sequence[str], charts: Sequence[Chart], tables: Sequence[Html] = ()
) -> None:
    """Write all charts into one ``.html`` or ``.png`` file, whole or not at all; a page has the tables below them."""
    if path.suffix == ".html":
        wide = [chart for chart in charts if chart.labelled]
        shown = [*(drawing(svg(one), one.title) for one in wide), figures([one for one in charts if not one.labelled])]
        numbers = [section(say("numbers")), *tables] if tables else []
        write_text(path, Page(title, [*texts, *shown, *numbers, toggles()], language=say.language).html())
    elif path.suffix == ".png":
        _write_png(path, title, charts)
    else:
        raise UserError(f"--out: {path} ends in {path.suffix or 'nothing'!r}; allowed are .html and .png")


def _write_png(path: Path, title: str, charts: Sequence[Chart]) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--out: a .png needs matplotlib (pip install 'e2lm[plot]'); .html needs nothing") from error
    rows = math.ceil(len(charts) / COLUMNS)
    figure = Figure(figsize=(5.0 * COLUMNS, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for index, chart in enumerate(charts):
        _draw(figure.add_subplot(rows, COLUMNS, index + 1), chart)
    with whole_file(path) as partial:
        # without the version and date in it, the same scores give the same bytes
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})


def _draw(axes: Any, chart: Chart) -> None:
    for line in chart.lines:
        style = "--" if line.dashed else "-"
        axes.plot(
            line.x, line.y, style, color=line.color, label=line.label, marker="o" if line.points else None, markersize=3
        )
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=line.color, alpha=0.15, linewidth=0)
    for mark in chart.marks:
        axes.axhline(mark.y, color="#59636e", linestyle=":", linewidth=1)
    if chart.log_x:
        axes.set_xscale("log")
    axes.set_title(chart.title, fontsize=10)
    axes.set_xlabel(chart.x_label, fontsize=8)
    axes.set_ylabel(chart.y_label, fontsize=8)
    axes.tick_params(labelsize=7)
    if chart.labelled:
        for line in chart.lines:
            axes.annotate(line.label, (line.x[0], line.y[0]), fontsize=5, xytext=(3, 2), textcoords="offset points")
    elif chart.lines:
        axes.legend(fontsize=6, ncols=2)


def run_plot(arguments: Namespace) -> int:
    """Write the charts; returns the exit code."""
    path = Path(arguments.out)
    if path.suffix not in (".html", ".png"):
        raise UserError(f"--out: {path} ends in {path.suffix or 'nothing'!r}; allowed are .html and .png")
    source = read_input(arguments, plugin_manager())
    found = [(curves, contender_in_time(curves, curves, EARLY_SHARE)) for curves in source.groups()]
    # Best decisions first; those that cannot be compared keep the order of their names, after all others.
    found.sort(key=lambda one: (math.inf, 0.0) if isinstance(one[1], str) else (-one[1].value, -one[1].snr))
    groups = [curves for curves, _ in found]
    contenders = [one for _, one in found if not isinstance(one, str)]
    ranking = ranked(contenders, np.random.default_rng(arguments.seed)) if contenders else []
    drawn = groups[:MOST_CURVES]
    charts = [decision_chart(contenders), ordering_chart(groups), *(curve_chart(curves) for curves in drawn)]
    notes = [*source.notes, *_left_out(groups, len(contenders))]
    for note in notes:
        print(f"note: {note}")
    if arguments.dry_run:
        print(f"would write {path} with {len(charts)} charts")
        return 0
    texts = [say("how_to_read"), *_left_out(groups, len(contenders))]
    tables = [*([decision_table(ranking)] if ranking else []), curve_table(groups)]
    write_charts(path, say("heading", name=Path(arguments.path).name), texts, charts, tables)
    print(f"wrote {path} with {len(charts)} charts")
    return 0


def _first(names: Sequence[str]) -> list[str]:
    """A few of the names, for the tables have all."""
    more = len(names) - MOST_NAMED
    return [*names[:MOST_NAMED], *([say("more_names", count=more)] if more > 0 else [])]


def _left_out(groups: Sequence[Sequence[Curve]], compared: int) -> list[str]:
    """Which tasks the charts leave out, and by what the others were chosen."""
    names = [f"{curves[0].task} {curves[0].metric}" for curves in groups]
    said = []
    if compared > MOST_LINES:
        said.append(say("ordering_shows", shown=MOST_LINES, names=_first(names[MOST_LINES:compared])))
    if len(names) > MOST_CURVES:
        by = "curves_show_best" if compared else "curves_show_first"
        said.append(say(by, shown=MOST_CURVES, names=_first(names[MOST_CURVES:])))
    return said
