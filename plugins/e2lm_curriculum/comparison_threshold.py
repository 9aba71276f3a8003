"""How many tokens an arm needs to get where vanilla gets late: "steps saved", with an interval.

Shape suffixes: S seeds, K checkpoints, I items, D draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm_curriculum.comparison_difference import redrawn_weights_DS, widening

Values = NDArray[np.float64]

DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class TokensToThreshold:
    """Tokens of the arm over tokens of vanilla (``goal_tokens``) for the same score ``goal``; below 1 is faster.

    95 % interval. ``ratio`` or ``high`` is None where the arm does not get there within its training; the true one is
    then above ``limit``.
    """

    goal: float
    goal_tokens: float
    ratio: float | None
    low: float | None
    high: float | None
    limit: float

    @property
    def sentence(self) -> str:
        """In words."""
        if self.ratio is None:
            return f"not reached: above {self.limit:.2f}x"
        low = f"above {self.limit:.2f}" if self.low is None else f"{self.low:.2f}"
        high = f"above {self.limit:.2f}" if self.high is None else f"{self.high:.2f}"
        return f"{self.ratio:.2f}x [{low}, {high}]"


def tokens_to_threshold(
    vanilla_SKI: Values,
    arm_SKI: Values,
    tokens_K: tuple[float, ...],
    share: float,
    higher_is_better: bool,
    rng: np.random.Generator,
) -> TokensToThreshold:
    """The ratio for the score that vanilla has after ``share`` of its tokens.

    Curves are best-so-far and straight in log tokens between checkpoints. The interval is from redrawing seeds and
    items (the same for both arms), stretched to Student's t for the number of seeds.
    """
    sign = 1.0 if higher_is_better else -1.0
    where_K = _log_tokens(tokens_K)
    goal_tokens = share * tokens_K[-1]
    curves = [sign * one.mean(axis=(0, 2))[None] for one in (vanilla_SKI, arm_SKI)]
    goal = float(np.interp(math.log(goal_tokens), where_K, _best_DK(curves[0])[0]))
    centre = float(_crossing_D(_best_DK(curves[1]), where_K, np.asarray([goal]))[0]) - math.log(goal_tokens)
    seeds, _, items = vanilla_SKI.shape
    seed_DS, item_DI = redrawn_weights_DS(seeds, DRAWS, rng), redrawn_weights_DS(items, DRAWS, rng)
    drawn_vanilla_DK, drawn_arm_DK = (
        _best_DK(sign * np.einsum("ds,ski,di->dk", seed_DS, one, item_DI, optimize=True))
        for one in (vanilla_SKI, arm_SKI)
    )
    goal_D = np.asarray([np.interp(math.log(goal_tokens), where_K, row) for row in drawn_vanilla_DK])
    ratio_D = _crossing_D(drawn_arm_DK, where_K, goal_D) - math.log(goal_tokens)
    limit = 1 / share
    if not math.isfinite(centre):
        return TokensToThreshold(sign * goal, goal_tokens, None, _low(ratio_D), None, limit)
    stretched_D = centre + widening(seeds) * (np.where(np.isfinite(ratio_D), ratio_D, np.inf) - centre)
    low, high = np.quantile(stretched_D, [0.025, 0.975], method="closest_observation")
    return TokensToThreshold(
        goal=sign * goal,
        goal_tokens=goal_tokens,
        ratio=math.exp(centre),
        low=math.exp(low) if math.isfinite(low) else None,
        high=math.exp(high) if math.exp(min(high, 50.0)) <= limit else None,
        limit=limit,
    )


def _low(ratio_D: Values) -> float | None:
    low = float(np.quantile(ratio_D, 0.025, method="closest_observation"))
    return math.exp(low) if math.isfinite(low) else None


def _log_tokens(tokens_K: tuple[float, ...]) -> Values:
    """Logarithms, with step 0 a factor of ten before the first checkpoint."""
    first = next(tokens for tokens in tokens_K if tokens > 0)
    return np.log([tokens if tokens > 0 else first / 10 for tokens in tokens_K])


def _best_DK(curve_DK: Values) -> Values:
    return np.asarray(np.maximum.accumulate(curve_DK, axis=1))


def _crossing_D(curve_DK: Values, where_K: Values, goal_D: Values) -> Values:
    """Where each rising curve first reaches its goal; inf where it does not.

    >>> _crossing_D(np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 0.5]]), np.array([0.0, 1.0, 2.0]), np.array([1.5, 1.0]))
    array([1.5, inf])
    """
    found_D = np.full(len(curve_DK), np.inf)
    for row, (curve_K, goal) in enumerate(zip(curve_DK, goal_D, strict=True)):
        place = int(np.searchsorted(curve_K, goal, side="left"))
        if place == len(curve_K):
            continue
        if place == 0:
            found_D[row] = where_K[0]
            continue
        before, after = curve_K[place - 1], curve_K[place]
        share = (goal - before) / (after - before)
        found_D[row] = where_K[place - 1] + share * (where_K[place] - where_K[place - 1])
    return found_D
