"""Charts of curves and of links between losses, as SVG that needs no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from e2lm.svg_chart import CATEGORIES, Chart, Line

if TYPE_CHECKING:
    import pandas as pd

    from e2lm_scaling.loss_link import LossLink
    from e2lm_scaling.objective import Array

#: Points of a drawn law.
LAW_POINTS = 60
WIDTH = 640


def forecast_chart(rows: pd.DataFrame, report: Mapping[str, Any], x_label: str) -> Chart:
    """The checkpoints so far, and the forecast of the end with its interval."""
    last, end = report["last"], report["end"]
    ahead = Line(
        f"forecast {report['value']:.4g}", [last, end], [report["last_value"], report["value"]],
        [report["last_value"], report["low"]], [report["last_value"], report["high"]],
        CATEGORIES[1], dashed=True,
    )  # fmt: skip
    seen = Line(report["series"], _list(rows["at"]), _list(rows["value"]))
    title = f"{report['series']}: {report['value']:.4g} ({report['low']:.4g} to {report['high']:.4g}) at the end"
    return Chart(title, x_label, "value", [seen, ahead], log_x=bool(rows["at"].min() > 0), width=WIDTH)


def comparison_chart(first: pd.DataFrame, second: pd.DataFrame, report: Mapping[str, Any], x_label: str) -> Chart:
    """Both runs so far; the title says which ends above and how surely."""
    lines = [
        Line(name, _list(rows["at"]), _list(rows["value"]), color=color)
        for name, rows, color in zip((report["series"], report["against"]), (first, second), CATEGORIES, strict=False)
    ]
    title = f"{report['series']} ends above {report['against']} with probability {report['probability_above']:.0%}"
    at = min(first["at"].min(), second["at"].min())
    return Chart(title, x_label, "value", lines, log_x=bool(at > 0), width=WIDTH)


def link_chart(link: LossLink, from_P: Array, to_P: Array, translated: Sequence[Mapping[str, Any]], y: str) -> Chart:
    """The pairs, the law through them with its interval, and what was asked for."""
    asked = [one["from"] for one in translated]
    grid = np.linspace(min([float(from_P.min()), *asked]), max([float(from_P.max()), *asked]), LAW_POINTS)
    values = np.asarray(link.apply(grid), dtype=float)
    half = np.array([link.half_width(float(value)) or 0.0 for value in values])
    lines = [
        Line("law, 90 % interval", grid.tolist(), values.tolist(), (values - half).tolist(), (values + half).tolist(),
             points=False),
        _points("pairs", from_P, to_P, CATEGORIES[2]),
    ]  # fmt: skip
    for one in translated:
        if one["low"] is not None:
            at = [one["from"]] * 3
            lines.append(
                Line(f"{one['from']:.4g} → {one['loss']:.4g}", at, [one["low"], one["loss"], one["high"]],
                     color=CATEGORIES[1])
            )  # fmt: skip
    return Chart("from the first loss to the second", "first loss", y, lines, width=WIDTH)


def _points(label: str, x: Array, y: Array, color: str) -> Line:
    """Points without a line: a gap after each."""
    gap = [math.nan] * len(x)
    xs = [value for pair in zip(_list(x), gap, strict=True) for value in pair]
    ys = [value for pair in zip(_list(y), gap, strict=True) for value in pair]
    return Line(label, xs, ys, color=color)


def _list(values: Any) -> list[float]:
    return [float(value) for value in values]
