"""``e2lm signal plot``: curves with bands, ordering over time, signal-to-noise against decisions, as HTML or PNG.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import Curve, UserError
from e2lm.atomic_file import whole_file, write_text
from e2lm.chart import CATEGORIES, Chart, Line, Mark, ramp
from e2lm.interval import normal_quantile
from e2lm.page import Page, figures
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.input import read_input
from e2lm_signal.comparison import Contender, contender_in_time
from e2lm_signal.curves import common_grid
from e2lm_signal.decisions import EARLY_SHARE, FINAL_CHECKPOINTS, decision_accuracy
from e2lm_signal.item_noise import item_noise
from e2lm_signal.messages import say
from e2lm_signal.noise import noise_of

NULL_COLOR = "#818b98"
BILLION = 1e9
#: More lines than this in one chart cannot be told apart.
MOST_LINES = 12


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
    for curve, color in zip(ordered, colors, strict=True):
        x, _ = horizontal(curve)
        noise = item_noise(curve)
        half = np.full(len(x), np.nan) if noise is None else normal_quantile() * np.sqrt(np.diag(noise.covariance_KK))
        band = (None, None) if noise is None else ((curve.values_K - half).tolist(), (curve.values_K + half).tolist())
        lines.append(Line(curve.series, x, curve.values_K.tolist(), band[0], band[1], color))
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


def ordering_chart(groups: Sequence[Sequence[Curve]]) -> Chart:
    """Share of pairs of series in their final order, over the run; one line per task x metric."""
    lines: list[Line] = []
    for curves in groups:
        grid = common_grid(curves)
        if isinstance(grid, str):
            continue
        final_M = grid.values_MK[:, -min(FINAL_CHECKPOINTS, grid.values_MK.shape[1]) :].mean(axis=1)
        accuracy = [decision_accuracy(early_M, final_M) for early_M in grid.values_MK.T]
        color = CATEGORIES[len(lines) % len(CATEGORIES)]
        label = f"{curves[0].task} {curves[0].metric}"
        lines.append(Line(label, (100.0 * grid.share_K).tolist(), accuracy, color=color, dashed=len(lines) >= 6))
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
    """Each task x metric as a point: signal-to-noise ratio across, decision accuracy up."""
    known = [one for one in contenders if math.isfinite(one.snr) and one.snr > 0]
    lines = [
        Line(f"{one.task} {one.metric}", [one.snr], [one.value], color=CATEGORIES[index % len(CATEGORIES)])
        for index, one in enumerate(sorted(known, key=lambda one: -one.value))
    ]
    return Chart(
        title=say("decisions"),
        x_label=say("snr"),
        y_label=say("decision_accuracy"),
        lines=lines,
        marks=(Mark(say("coin_toss"), 0.5),),
        log_x=True,
        description=say("decisions_description"),
    )


#: Charts per row of a PNG.
COLUMNS = 3


def write_charts(path: Path, title: str, text: str, charts: Sequence[Chart]) -> None:
    """Write all charts into one ``.html`` or ``.png`` file, whole or not at all."""
    if path.suffix == ".html":
        write_text(path, Page(title, [text, figures(charts)], language=say.language).html())
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
    if chart.lines:
        axes.legend(fontsize=6, ncols=2)


#: More charts than this make no readable page; the user is asked to choose.
MOST_CHARTS = 60


def run_plot(arguments: Namespace) -> int:
    """Write the charts; returns the exit code."""
    path = Path(arguments.out)
    if path.suffix not in (".html", ".png"):
        raise UserError(f"--out: {path} ends in {path.suffix or 'nothing'!r}; allowed are .html and .png")
    source = read_input(arguments, plugin_manager())
    count = int(source.scores.frame.groupby(["task", "metric"]).ngroups)
    if count > MOST_CHARTS:
        raise UserError(f"{count} task x metric are more than {MOST_CHARTS} charts; choose with --tasks and --metrics")
    groups = list(source.groups())
    contenders = [contender_in_time(curves, curves, EARLY_SHARE) for curves in groups]
    charts = [
        ordering_chart(groups),
        decision_chart([one for one in contenders if not isinstance(one, str)]),
        *(curve_chart(curves) for curves in groups),
    ]
    for note in source.notes:
        print(f"note: {note}")
    if arguments.dry_run:
        print(f"would write {path} with {len(charts)} charts")
        return 0
    write_charts(path, say("heading", name=Path(arguments.path).name), say("how_to_read"), charts)
    print(f"wrote {path} with {len(charts)} charts")
    return 0
