"""When may one stop: the first checkpoint from which on the order of the series hardly changes.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore
from e2lm_signal.common_grid import common_grid
from e2lm_signal.decision_accuracy import FINAL_CHECKPOINTS, decision_accuracy

#: Share of pairs that must keep their final order: the level DataDecide calls predictable is .8; .9 leaves one in ten.
SETTLED = 0.9


def settling_share(curves: Sequence[Curve], rng: np.random.Generator, settled: float = SETTLED) -> ScoreValue:
    """Share of the run after which decision accuracy against the final order stays at ``settled`` or more.

    ``details`` say the step and tokens. 1 where it settles only at the very end.
    """
    grid = common_grid(curves)
    if isinstance(grid, str):
        return ScoreValue(None, reason=grid)
    target_M = grid.values_MK[:, -min(FINAL_CHECKPOINTS, grid.values_MK.shape[1]) :].mean(axis=1)
    if len(np.unique(target_M)) == 1:
        return ScoreValue(None, reason="all series end equal: there is no order to settle")
    accuracy_K = np.asarray([decision_accuracy(early_M, target_M) for early_M in grid.values_MK.T])
    unsettled = np.flatnonzero(accuracy_K < settled)
    at = min(int(unsettled[-1]) + 1 if len(unsettled) else 0, len(accuracy_K) - 1)
    details = {"step": float(grid.steps_K[at]), "position": float(grid.position_K[at])}
    reason = f"step {grid.steps_K[at]}; no interval: resolved to the spacing of checkpoints"
    return ScoreValue(float(grid.share_K[at]), reason=reason, details=details)


def settling_scores() -> list[SignalScore]:
    """The early-stop step as a share of the run."""
    return [
        SignalScore(
            "settling_share",
            f"Share of the run after which at least {SETTLED:.0%} of pairs keep their final order.",
            settling_share,
            scope="family",
            source="this package; the order and its ties as in decision_accuracy",
            unit="share of the run",
        )
    ]
