"""Charts as files: HTML with inline SVG, which asks for nothing from anywhere, or PNG through matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.atomic_file import whole_file, write_text
from e2lm.svg_chart import Chart, svg

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
figure {{ display: inline-block; margin: .5rem; vertical-align: top; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #0d1117; color: #e6edf3; }} }}
</style></head><body>
<h1>{title}</h1>
<p>{text}</p>
{figures}
</body></html>
"""
#: Charts per row of a PNG.
COLUMNS = 3


def write_charts(path: Path, title: str, text: str, charts: Sequence[Chart]) -> None:
    """Write all charts into one ``.html`` or ``.png`` file, whole or not at all."""
    if path.suffix == ".html":
        figures = "\n".join(f"<figure>{svg(chart)}</figure>" for chart in charts)
        write_text(path, PAGE.format(title=escape(title), text=escape(text), figures=figures))
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
