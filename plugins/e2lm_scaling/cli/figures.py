"""Figures of fits, residuals, backtests, budgets and curves, and the files they become: PNG, or one HTML page.

Figures are drawn by matplotlib without a display; charts of curves and of links between losses are SVG that needs no
library. A page loads nothing from anywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from e2lm.atomic_file import whole_file, write_text
from e2lm.chart import CATEGORIES, Chart, Line, svg
from e2lm.errors import UserError
from e2lm.page import Page, drawing, figures
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.messages import say

if TYPE_CHECKING:
    import pandas as pd

    from e2lm.scaling_predictor import Forecaster
    from e2lm_scaling.forecast.backtest import Backtest
    from e2lm_scaling.forecast.decide import Decision
    from e2lm_scaling.forecast.link import LossLink
    from e2lm_scaling.forecast.plan import ComputePlan
    from e2lm_scaling.laws.objective import Array


SIZE_INCHES = (8.0, 4.5)
#: Most budgets drawn as isoFLOP curves.
MOST_BUDGETS = 8


def new_figure(panels: int = 1) -> tuple[Any, list[Any]]:
    """A figure with ``panels`` axes side by side; :class:`UserError` where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--plot needs matplotlib: pip install 'e2lm[plot]'") from error
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    return figure, list(axes)


def fit_figure(forecaster: Forecaster) -> Any:
    """Observed and predicted loss against compute, and the residuals."""
    figure, (left, right) = new_figure(2)
    table, name = forecaster.table, forecaster.predictor.name
    flops_R = flops_of(table)
    predicted_R = forecaster.losses(table.params_R, table.tokens_R)
    shown = left.scatter(flops_R, table.loss_R, c=np.log10(table.params_R), s=14, cmap="viridis")
    figure.colorbar(shown, ax=left, label=say("log_size"))
    left.scatter(
        flops_R, predicted_R, marker="x", s=14, color="black", linewidths=0.7, label=forecaster.predictor.description
    )
    left.set(xscale="log", xlabel=say("training_flops"), ylabel=say("loss"), title=say("data_and_fit", name=name))
    left.legend(fontsize="small")
    right.axhline(0.0, color="grey", linewidth=0.8)
    right.scatter(flops_R, 100 * (predicted_R / table.loss_R - 1), s=14)
    right.set(xscale="log", xlabel=say("training_flops"), ylabel=say("residual_axis"), title=say("residuals"))
    return figure


def backtest_figure(result: Backtest) -> Any:
    """Signed errors of every model on the held-out runs, with the 90 % interval of each."""
    figure, (axis,) = new_figure(1)
    flops_R = flops_of(result.held)
    for position, one in enumerate(result.judged):
        spread = 0.25 * (np.log(flops_R) - np.log(flops_R).mean()) / max(float(np.ptp(np.log(flops_R))), 1e-9)
        axis.scatter(100 * one.signed_R, position + spread, s=14, alpha=0.8)
        half = 100 * float(np.nanmean(one.half_width_R)) if np.isfinite(one.half_width_R).any() else 0.0
        axis.plot([-half, half], [position, position], color="grey", linewidth=5, alpha=0.3, zorder=0)
    names = [say("baseline", name=one.model) if one.is_baseline else one.model for one in result.judged]
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.axvline(0.0, color="grey", linewidth=0.8)
    axis.set(xlabel=say("backtest_axis"), title=say("held_out", by=result.by, threshold=result.threshold))
    return figure


def isoflop_figure(forecaster: Forecaster, found: ComputePlan) -> Any:
    """Loss along compute budgets of the data and of the plan."""
    from e2lm_scaling.forecast.plan import isoflop_curve
    from e2lm_scaling.laws.optimum import FEWEST_RUNS, budgets_of

    figure, (axis,) = new_figure(1)
    table = forecaster.table
    groups = [group for group in budgets_of(table) if len(group[1]) >= FEWEST_RUNS][-MOST_BUDGETS:]
    for flops, rows in groups:
        sizes = np.geomspace(table.params_R[rows].min() / 1.5, table.params_R[rows].max() * 1.5, 100)
        (line,) = axis.plot(
            sizes, isoflop_curve(forecaster, flops, sizes), linewidth=1, label=say("budget", flops=flops)
        )
        axis.scatter(table.params_R[rows], table.loss_R[rows], s=12, color=line.get_color())
    sizes = np.geomspace(found.params / 10, found.params * 10, 200)
    planned = say("budget_of_plan", flops=found.flops)
    axis.plot(sizes, isoflop_curve(forecaster, found.flops, sizes), color="black", label=planned)
    axis.scatter([found.params], [found.loss.value], color="black", marker="*", s=90, zorder=3)
    axis.axvspan(*found.params_interval, color="grey", alpha=0.15)
    axis.set(xscale="log", xlabel=say("size_axis"), ylabel=say("loss"), title=say("isoflops"))
    axis.legend(fontsize="x-small")
    return figure


def decision_figure(found: Decision) -> Any:
    """Gain of every option over stopping with its 90 % interval, and the probability of being best."""
    figure, (left, right) = new_figure(2)
    names = [one.option.name for one in found.valued]
    for position, one in enumerate(found.valued):
        left.plot(one.gain_interval, [position, position], color="grey", linewidth=5, alpha=0.4)
        left.scatter([one.gain], [position], color="black", zorder=3)
    left.axvline(0.0, color="grey", linewidth=0.8)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set(xlabel=say("gain_axis"), title=say("worth"))
    right.barh(range(len(names)), [one.best_probability for one in found.valued], color="steelblue")
    right.set_yticks(range(len(names)), [""] * len(names))
    right.invert_yaxis()
    right.set(xlabel=say("best_axis"), xlim=(0, 1), title=say("how_sure"))
    return figure


def inline_svg(figure: Any) -> str:
    """The figure as an ``svg`` element, the same bytes for the same figure."""
    import matplotlib as mpl

    text = StringIO()
    with mpl.rc_context({"svg.hashsalt": "e2lm", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    element = whole[whole.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)


def write_figures(path: Path, title: str, drawn: list[Any], paragraphs: tuple[str, ...] = ()) -> None:
    """Write the figures to ``path`` (.html or .png; a PNG holds the first one)."""
    suffix = checked_suffix(path)
    if suffix == ".png":
        with whole_file(path) as partial:
            drawn[0].savefig(partial, format="png", dpi=150, metadata={"Software": None})
        return
    drawings = [drawing(inline_svg(figure), _titles(figure)) for figure in drawn]
    write_text(path, Page(title, [*paragraphs, *drawings], language=say.language).html())


def _titles(figure: Any) -> str:
    return "; ".join(axes.get_title() for axes in figure.axes if axes.get_title())


def write_charts(path: Path, title: str, charts: list[Chart], paragraphs: tuple[str, ...] = ()) -> None:
    """Write ``charts`` to ``path`` (.html or .svg; an SVG holds the first one); no library is needed."""
    if checked_suffix(path, (".html", ".svg")) == ".svg":
        write_text(path, svg(charts[0], standalone=True) + "\n")
        return
    write_text(path, Page(title, [*paragraphs, figures(charts)], language=say.language).html())


def checked_suffix(path: Path, allowed: tuple[str, str] = (".html", ".png")) -> str:
    """The ending, in lower case; :class:`UserError` where it is not allowed."""
    if path.suffix.lower() not in allowed:
        raise UserError(f"--plot {path}: give a file that ends in {' or '.join(allowed)}")
    return path.suffix.lower()


#: Points of a drawn law.
LAW_POINTS = 60


def forecast_chart(rows: pd.DataFrame, report: Mapping[str, Any], x_label: str) -> Chart:
    """The checkpoints so far, and the forecast of the end with its interval."""
    last, end = report["last"], report["end"]
    known = report["low"] is not None and report["high"] is not None
    low, high = ([report["last_value"], report[side]] if known else None for side in ("low", "high"))
    key = say("forecast_key", value=report["value"])
    way = [report["last_value"], report["value"]]
    ahead = Line(key, [last, end], way, low, high, CATEGORIES[1], dashed=True)
    seen = Line(report["series"], _list(rows["at"]), _list(rows["value"]))
    told = {name: report[name] for name in ("series", "value", *(("low", "high") if known else ()))}
    title = say("end_title_with_interval" if known else "end_title", **told)
    return Chart(title, x_label, say("value"), [seen, ahead], log_x=bool(rows["at"].min() > 0))


def comparison_chart(first: pd.DataFrame, second: pd.DataFrame, report: Mapping[str, Any], x_label: str) -> Chart:
    """Both runs so far; the title says which ends above and how surely."""
    lines = [
        Line(name, _list(rows["at"]), _list(rows["value"]), color=color)
        for name, rows, color in zip((report["series"], report["against"]), (first, second), CATEGORIES, strict=False)
    ]
    title = say(
        "above_title", series=report["series"], against=report["against"], probability=report["probability_above"]
    )
    at = min(first["at"].min(), second["at"].min())
    return Chart(title, x_label, say("value"), lines, log_x=bool(at > 0))


def link_chart(link: LossLink, from_P: Array, to_P: Array, translated: Sequence[Mapping[str, Any]], y: str) -> Chart:
    """The pairs, the law through them with its interval, and what was asked for."""
    asked = [one["from"] for one in translated]
    grid = np.linspace(min([float(from_P.min()), *asked]), max([float(from_P.max()), *asked]), LAW_POINTS)
    values = np.asarray(link.apply(grid), dtype=float)
    half = np.array([link.half_width(float(value)) or 0.0 for value in values])
    lines = [
        Line(say("law_key"), grid.tolist(), values.tolist(), (values - half).tolist(), (values + half).tolist(),
             points=False),
        _points(say("pairs_key"), from_P, to_P, CATEGORIES[2]),
    ]  # fmt: skip
    for one in translated:
        if one["low"] is not None:
            at = [one["from"]] * 3
            lines.append(
                Line(f"{one['from']:.4g} → {one['loss']:.4g}", at, [one["low"], one["loss"], one["high"]],
                     color=CATEGORIES[1])
            )  # fmt: skip
    return Chart(say("link_title"), say("first_loss"), y, lines)


def _points(label: str, x: Array, y: Array, color: str) -> Line:
    """Points without a line: a gap after each."""
    gap = [math.nan] * len(x)
    xs = [value for pair in zip(_list(x), gap, strict=True) for value in pair]
    ys = [value for pair in zip(_list(y), gap, strict=True) for value in pair]
    return Line(label, xs, ys, color=color)


def _list(values: Any) -> list[float]:
    return [float(value) for value in values]
