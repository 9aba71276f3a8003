"""Decision accuracy: how often an early or small comparison picks the winner of the late or large one.

``DA = |P|^-1 sum_{(a, b) in P} 1[sign(e_a - e_b) = sign(t_a - t_b)]`` over all pairs of series, e the early scores and
t the target; a tie on either side counts one half. DataDecide (Magnusson et al. 2025, arXiv 2504.11393), section 2.2.

When one may stop is the first checkpoint from which on the order of the series hardly changes.

Shape suffixes: M series, K checkpoints, D draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values
from e2lm.interval import Interval, normal_interval, percentile_interval, redrawn_counts_DI, redrawn_DI
from e2lm_signal.curves import CommonGrid, common_grid
from e2lm_signal.item_noise import DRAWS

SOURCE = "DataDecide (Magnusson et al. 2025, arXiv 2504.11393), section 2.2"
#: Share of the run at which the early comparison is made.
EARLY_SHARE = 0.1
#: The target is the mean of this many last checkpoints, so that one noisy checkpoint does not decide.
FINAL_CHECKPOINTS = 3


#: Redrawing fewer series says nothing about others.
LEAST_REDRAWN = 4


def too_few(series: int) -> str:
    """Why the order of so few series decides nothing.

    >>> too_few(2)
    'too few series to say: the order of 2 is a matter of 1 pair; at least 4 are needed'
    """
    pairs = series * (series - 1) // 2
    many = "1 pair" if pairs == 1 else f"{pairs} pairs"
    return f"too few series to say: the order of {series} is a matter of {many}; at least {LEAST_REDRAWN} are needed"


def agreement_MM(early_M: Values, target_M: Values) -> Values:
    """1 where the pair has the same order in both, 0 where the opposite, one half at a tie; the diagonal is 1/2."""
    early_MM = np.sign(early_M[:, None] - early_M[None, :])
    target_MM = np.sign(target_M[:, None] - target_M[None, :])
    return np.asarray((1.0 + early_MM * target_MM) / 2.0)


def decision_accuracy(early_M: Values, target_M: Values) -> float:
    """Share of pairs that keep their order, ties one half; NaN below two series.

    >>> decision_accuracy(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])) * 3
    2.0
    """
    count = len(early_M)
    if count < 2:
        return float("nan")
    first, second = np.triu_indices(count, 1)
    return float(agreement_MM(early_M, target_M)[first, second].mean())


def bootstrap_D(agreement: Values, rng: np.random.Generator, draws: int = DRAWS) -> Values:
    """Decision accuracies of redrawn sets of series: pairs share series, so series are what is redrawn.

    A pair of a series with itself, which a redraw may hold, does not count.
    """
    count = len(agreement)
    chosen_DM = redrawn_DI(count, draws, rng)
    counts_DM = np.zeros((draws, count))
    np.add.at(counts_DM, (np.arange(draws)[:, None], chosen_DM), 1.0)
    off_diagonal = agreement - np.diag(np.diag(agreement))
    pairs_D = (counts_DM.sum(axis=1) ** 2 - (counts_DM**2).sum(axis=1)) / 2.0
    kept_D = ((counts_DM @ off_diagonal) * counts_DM).sum(axis=1) / 2.0
    return np.asarray(kept_D[pairs_D > 0] / pairs_D[pairs_D > 0])


def accuracy_interval(value: float, agreement: Values, rng: np.random.Generator) -> Interval:
    """The interval of a decision accuracy ``value``, from redrawing series; within [0, 1].

    One imagined series that agrees with each other one half of the time is redrawn along: without it, series that agree
    perfectly would promise perfection for all others too.
    """
    count = len(agreement)
    padded = np.full((count + 1, count + 1), 0.5)
    padded[:count, :count] = agreement
    return normal_interval(value, float(bootstrap_D(padded, rng).std())).within(0.0, 1.0)


def family_decision_accuracy(
    curves: Sequence[Curve], rng: np.random.Generator, early_share: float = EARLY_SHARE
) -> ScoreValue:
    """Order of the series at ``early_share`` of the run against their order at its end."""
    grid = common_grid(curves)
    if isinstance(grid, str):
        return ScoreValue(None, reason=grid)
    early = int(np.searchsorted(grid.share_K, early_share - 1e-9))
    last = grid.values_MK.shape[1] - min(FINAL_CHECKPOINTS, grid.values_MK.shape[1] - 1)
    if early >= last:
        return ScoreValue(
            None, reason=f"no checkpoint at {early_share:.0%} of the run before its last {FINAL_CHECKPOINTS}"
        )
    agreement = agreement_MM(grid.values_MK[:, early], grid.values_MK[:, last:].mean(axis=1))
    return interval_of_pairs(agreement, rng, grid, early)


def interval_of_pairs(
    agreement: Values, rng: np.random.Generator, grid: CommonGrid | None = None, early: int = 0
) -> ScoreValue:
    """Mean agreement with a 90 % interval from redrawing series (normal, cut to [0, 1])."""
    first, second = np.triu_indices(len(agreement), 1)
    value = float(agreement[first, second].mean())
    if len(agreement) < LEAST_REDRAWN:
        return ScoreValue(value, 0.0, 1.0, reason=too_few(len(agreement)))
    details = {} if grid is None else {"early_position": float(grid.position_K[early])}
    return ScoreValue(value, *accuracy_interval(value, agreement, rng), details=details)


def decision_accuracy_scores() -> list[SignalScore]:
    """Decision accuracy at a tenth of the run."""
    return [
        SignalScore(
            "decision_accuracy",
            f"Share of pairs of series whose order at {EARLY_SHARE:.0%} of the run is that of its last "
            f"{FINAL_CHECKPOINTS} checkpoints; ties one half.",
            family_decision_accuracy,
            scope="family",
            source=SOURCE,
            unit="share of pairs",
        )
    ]


#: Share of pairs that must keep their final order: the level DataDecide calls predictable is .8; .9 leaves one in ten.
SETTLED = 0.9
#: At least and at most so many redraws; each weighs all pairs at all checkpoints, and so many pairs take a second.
SETTLING_DRAWS = (20, 300)
SETTLING_WORK = 1_000_000_000
#: Shares that are closer are the same, added in another order.
SAME = 1e-9


def settling_share(curves: Sequence[Curve], rng: np.random.Generator, settled: float = SETTLED) -> ScoreValue:
    """Share of the run after which decision accuracy against the final order stays at ``settled`` or more.

    ``details`` say the step and tokens. 1 where it settles only at the very end. The interval is of redrawn series.
    """
    grid = common_grid(curves)
    if isinstance(grid, str):
        return ScoreValue(None, reason=grid)
    target_M = grid.values_MK[:, -min(FINAL_CHECKPOINTS, grid.values_MK.shape[1]) :].mean(axis=1)
    if len(np.unique(target_M)) == 1:
        return ScoreValue(None, reason="all series end equal: there is no order to settle")
    series, checkpoints = grid.values_MK.shape
    draws = int(np.clip(SETTLING_WORK // (series**2 * checkpoints), *SETTLING_DRAWS))
    agreement_KMM = (agreement_MM(early_M, target_M) for early_M in grid.values_MK.T)
    counts_DM = redrawn_counts_DI(series, draws, rng).astype(np.float64)
    counts_DM = np.concatenate([np.ones((1, series)), counts_DM])  # the measured series themselves come first
    accuracy_KD = _redrawn_accuracy_KD(agreement_KMM, counts_DM)
    at_D = _settled_at_D(accuracy_KD, settled)
    at, share_D = int(at_D[0]), grid.share_K[at_D[1:]]
    details = {"step": float(grid.steps_K[at]), "position": float(grid.position_K[at])}
    settles = "" if accuracy_KD[-1, 0] >= settled - SAME else f"never: {accuracy_KD[-1, 0]:.0%} at the last; "
    reason = f"{settles}step {grid.steps_K[at]}; resolved to the spacing of checkpoints"
    interval = percentile_interval(share_D, method="closest_observation").holding(float(grid.share_K[at]))
    if series < LEAST_REDRAWN:
        interval, reason = Interval(0.0, 1.0), f"{reason}; {too_few(series)}"
    return ScoreValue(float(grid.share_K[at]), *interval, reason=reason, details=details)


def _redrawn_accuracy_KD(agreement_KMM: Iterable[Values], counts_DM: Values) -> Values:
    """Decision accuracy of every redraw; a series paired with its own copy does not count, nor a redraw of one."""
    pairs_D = counts_DM.sum(axis=1) ** 2 - (counts_DM**2).sum(axis=1)
    others_MM = 1.0 - np.eye(counts_DM.shape[1])
    kept_KD = [np.einsum("dm,dm->d", counts_DM @ (agreement * others_MM), counts_DM) for agreement in agreement_KMM]
    return np.where(pairs_D > 0, np.stack(kept_KD) / np.maximum(pairs_D, 1.0), 0.0)


def _settled_at_D(accuracy_KD: Values, settled: float) -> NDArray[np.int64]:
    """The first checkpoint from which on each redraw stays at ``settled``; the last where none does."""
    unsettled_KD = accuracy_KD < settled - SAME
    last_D = len(accuracy_KD) - 1 - unsettled_KD[::-1].argmax(axis=0)
    at_D = np.where(unsettled_KD.any(axis=0), last_D + 1, 0)
    return np.asarray(np.minimum(at_D, len(accuracy_KD) - 1), dtype=np.int64)


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
