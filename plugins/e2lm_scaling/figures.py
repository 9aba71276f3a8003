"""Figures of fits, residuals, backtests, budgets and curves (matplotlib, drawn without a display)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from e2lm.errors import UserError
from e2lm_scaling.loss_rows import flops_of

if TYPE_CHECKING:
    from e2lm_scaling.backtest import Backtest
    from e2lm_scaling.decide import Decision
    from e2lm_scaling.fit import Fit
    from e2lm_scaling.plan import Plan

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


def fit_figure(fit: Fit) -> Any:
    """Observed and predicted loss against compute, and the residuals."""
    figure, (left, right) = new_figure(2)
    table = fit.table
    flops_R = flops_of(table)
    predicted_R = fit.loss(table.params_R, table.tokens_R)
    shown = left.scatter(flops_R, table.loss_R, c=np.log10(table.params_R), s=14, cmap="viridis")
    figure.colorbar(shown, ax=left, label="log10 N")
    left.scatter(flops_R, predicted_R, marker="x", s=14, color="black", linewidths=0.7, label=fit.law.formula)
    left.set(xscale="log", xlabel="training FLOPs (6 N D)", ylabel="loss", title=f"{fit.law.name}: data and fit")
    left.legend(fontsize="small")
    right.axhline(0.0, color="grey", linewidth=0.8)
    right.scatter(flops_R, 100 * (predicted_R / table.loss_R - 1), s=14)
    right.set(xscale="log", xlabel="training FLOPs (6 N D)", ylabel="predicted / observed - 1 (%)", title="residuals")
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
    names = [one.model + (" (baseline)" if one.is_baseline else "") for one in result.judged]
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.axvline(0.0, color="grey", linewidth=0.8)
    axis.set(
        xlabel="predicted / observed - 1 on held-out runs (%); grey: mean 90 % interval",
        title=f"runs with {result.by} above {result.threshold:.3g} held out",
    )
    return figure


def isoflop_figure(fit: Fit, found: Plan) -> Any:
    """Loss along compute budgets of the data and of the plan."""
    from e2lm_scaling.isoflop import FEWEST_RUNS, budgets_of
    from e2lm_scaling.plan import isoflop_curve

    figure, (axis,) = new_figure(1)
    groups = [group for group in budgets_of(fit.table) if len(group[1]) >= FEWEST_RUNS][-MOST_BUDGETS:]
    for flops, rows in groups:
        sizes = np.geomspace(fit.table.params_R[rows].min() / 1.5, fit.table.params_R[rows].max() * 1.5, 100)
        (line,) = axis.plot(sizes, isoflop_curve(fit, flops, sizes), linewidth=1, label=f"{flops:.1e} FLOPs")
        axis.scatter(fit.table.params_R[rows], fit.table.loss_R[rows], s=12, color=line.get_color())
    sizes = np.geomspace(found.params / 10, found.params * 10, 200)
    axis.plot(sizes, isoflop_curve(fit, found.flops, sizes), color="black", label=f"{found.flops:.1e} FLOPs (plan)")
    axis.scatter([found.params], [found.loss.value], color="black", marker="*", s=90, zorder=3)
    axis.axvspan(*found.params_interval, color="grey", alpha=0.15)
    axis.set(xscale="log", xlabel="N (parameters)", ylabel="loss", title="isoFLOP curves; grey: interval of N*")
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
    left.set(xlabel="gain over stopping, after cost (90 % interval)", title="what it is worth")
    right.barh(range(len(names)), [one.best_probability for one in found.valued], color="steelblue")
    right.set_yticks(range(len(names)), [""] * len(names))
    right.invert_yaxis()
    right.set(xlabel="probability of being best", xlim=(0, 1), title="how sure")
    return figure
