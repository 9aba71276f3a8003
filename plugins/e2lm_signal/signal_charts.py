"""The charts of the signal report: curves with bands, ordering over time, signal-to-noise against decisions.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from e2lm import Curve
from e2lm.svg_chart import CATEGORIES, Chart, Line, Mark, ramp
from e2lm_signal.checkpoint_noise import noise_of
from e2lm_signal.common_grid import common_grid
from e2lm_signal.comparison import Contender
from e2lm_signal.decision_accuracy import FINAL_CHECKPOINTS, decision_accuracy
from e2lm_signal.item_noise import item_noise
from e2lm_signal.signal_quality import Z_90

NULL_COLOR = "#818b98"
BILLION = 1e9
#: More lines than this in one chart cannot be told apart.
MOST_LINES = 12


def horizontal(curve: Curve) -> tuple[list[float], str]:
    """Tokens in billions and their label, or steps where tokens are unknown."""
    if np.isfinite(curve.tokens_K).all():
        scale, unit = (BILLION, "billion tokens") if curve.tokens_K[-1] >= BILLION / 10 else (1e6, "million tokens")
        return (curve.tokens_K / scale).tolist(), unit
    return curve.steps_K.astype(float).tolist(), "step"


def curve_chart(curves: Sequence[Curve]) -> Chart:
    """Every series of one task x metric with its 90 % band, and the band in which a model that learns nothing stays."""
    ordered = sorted(curves, key=lambda curve: (math.isnan(curve.params), curve.params, curve.series))[:MOST_LINES]
    sized = all(math.isfinite(curve.params) for curve in ordered) and len({curve.params for curve in ordered}) > 1
    colors = ramp(len(ordered)) if sized else [CATEGORIES[i % len(CATEGORIES)] for i in range(len(ordered))]
    lines = [_null_band(ordered)]
    for curve, color in zip(ordered, colors, strict=True):
        x, _ = horizontal(curve)
        noise = item_noise(curve)
        half = np.full(len(x), np.nan) if noise is None else Z_90 * np.sqrt(np.diag(noise.covariance_KK))
        band = (None, None) if noise is None else ((curve.values_K - half).tolist(), (curve.values_K + half).tolist())
        lines.append(Line(curve.series, x, curve.values_K.tolist(), band[0], band[1], color))
    chance = ordered[0].chance
    left_out = len(curves) - len(ordered)
    more = f" ({left_out} series not shown)" if left_out else ""
    return Chart(
        title=f"{ordered[0].task}: {ordered[0].metric}{more}",
        x_label=horizontal(ordered[0])[1],
        y_label=ordered[0].metric,
        lines=lines,
        marks=() if chance is None else (Mark("chance", chance),),
    )


def _null_band(curves: Sequence[Curve]) -> Line:
    """Chance (the mean first value where unknown), plus and minus the 90 % range of one checkpoint's noise."""
    noises = [noise for curve in curves if (noise := noise_of(curve)) is not None]
    known = [item_noise(curve) for curve in curves]
    items = [float(np.diag(one.covariance_KK).mean()) for one in known if one is not None]
    half = Z_90 * max(float(np.mean(noises)) if noises else 0.0, math.sqrt(max(items, default=0.0)))
    first = float(np.nanmean([curve.values_K[0] for curve in curves]))
    centre = curves[0].chance if curves[0].chance is not None else first
    ends = sorted({position for curve in curves for position in (horizontal(curve)[0][0], horizontal(curve)[0][-1])})
    span = [ends[0], ends[-1]]
    return Line(
        "null band", span, [centre] * 2, [centre - half] * 2, [centre + half] * 2, NULL_COLOR, points=False, dashed=True
    )


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
    return Chart(
        title="Ordering over time",
        x_label="% of the run",
        y_label="pairs in final order",
        lines=lines[:MOST_LINES],
        marks=(Mark("coin toss", 0.5),),
        description="Share of pairs of series whose order is the final one, over the run",
    )


def decision_chart(contenders: Sequence[Contender]) -> Chart:
    """Each task x metric as a point: signal-to-noise ratio across, decision accuracy up."""
    known = [one for one in contenders if math.isfinite(one.snr) and one.snr > 0]
    lines = [
        Line(f"{one.task} {one.metric}", [one.snr], [one.value], color=CATEGORIES[index % len(CATEGORIES)])
        for index, one in enumerate(sorted(known, key=lambda one: -one.value))
    ]
    return Chart(
        title="Signal-to-noise against early decisions",
        x_label="SNR",
        y_label="decision accuracy",
        lines=lines,
        marks=(Mark("coin toss", 0.5),),
        log_x=True,
        description="Signal-to-noise ratio and decision accuracy of every task and metric",
    )
