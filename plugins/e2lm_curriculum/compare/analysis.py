"""All numbers of a comparison: curves, differences from vanilla, verdicts, what explains them, tokens to a threshold.

Shape suffixes: S seeds, K checkpoints, I items, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2lm.arrays import Values
from e2lm.interval import percentile_interval, redrawn_counts_DI
from e2lm_curriculum.compare.difference import CONFIDENCE, Difference, mean_interval, paired_difference, widening
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.verdict import Course, Explanation, Verdict, course, explanation, verdicts, whole_word
from e2lm_curriculum.messages import say
from e2lm_curriculum.plan.arms import CURRICULUM, EXPOSURE_MATCHED, VANILLA

DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class ArmCurve:
    """One arm on one measure over the checkpoints: mean over seeds with Student's t, and the area under it."""

    arm: str
    schedule: str
    mean_K: tuple[Difference, ...]
    sd_of_seeds: float
    area: Difference


@dataclass(frozen=True, slots=True)
class ArmEffect:
    """One arm against vanilla on one measure: at the end, on average over training, and over the checkpoints."""

    measure: str
    arm: str
    schedule: str
    final: Verdict
    area: Difference
    difference_K: tuple[Difference, ...]
    course: Course
    threshold: TokensToThreshold


@dataclass(frozen=True, slots=True)
class Analysis:
    """``effects`` and ``explanations`` are empty without a vanilla arm: no baseline, no claim."""

    measures: tuple[Measure, ...]
    curves: tuple[tuple[ArmCurve, ...], ...]
    effects: tuple[ArmEffect, ...]
    explanations: tuple[tuple[str, str, Explanation], ...]
    arms: tuple[str, ...]
    schedules: tuple[str, ...]

    @property
    def has_baseline(self) -> bool:
        """Whether anything may be claimed."""
        return VANILLA in self.arms

    def of_arm(self, arm: str, schedule: str) -> list[ArmEffect]:
        """The effects of one arm on all measures."""
        return [one for one in self.effects if (one.arm, one.schedule) == (arm, schedule)]

    def verdict(self, arm: str, schedule: str) -> str:
        """Better, worse, mixed or no detectable difference, over all measures."""
        return whole_word([one.final.word for one in self.of_arm(arm, schedule)])


def analysed(measures: Sequence[Measure], threshold: float, seed: int = 0) -> Analysis:
    """The analysis of all measures; ``seed`` is for redrawing seeds and items."""
    cells = list(measures[0].values)
    arms = tuple(dict.fromkeys(arm for arm, _ in cells))
    schedules = tuple(dict.fromkeys(schedule for _, schedule in cells))
    effects: list[ArmEffect] = []
    explanations: list[tuple[str, str, Explanation]] = []
    rng = np.random.default_rng(seed)
    for schedule in schedules:
        if (VANILLA, schedule) not in cells:
            continue
        for arm in arms:
            if arm != VANILLA and (arm, schedule) in cells:
                effects += _effects(measures, arm, schedule, threshold, rng)
        if {(CURRICULUM, schedule), (EXPOSURE_MATCHED, schedule)} <= set(cells):
            explanations += [(one.name, schedule, _explained(one, schedule)) for one in measures]
    curves = tuple(tuple(_curve(one, cell) for cell in one.values) for one in measures)
    return Analysis(tuple(measures), curves, tuple(effects), tuple(explanations), arms, schedules)


def _curve(measure: Measure, cell: tuple[str, str]) -> ArmCurve:
    score_SK = measure.values[cell].mean(axis=2)
    means = tuple(mean_interval(score_SK[:, k]) for k in range(score_SK.shape[1]))
    area = mean_interval(score_SK @ area_weights(measure.tokens_K))
    return ArmCurve(*cell, means, float(score_SK[:, -1].std(ddof=1)), area)


def _effects(
    measures: Sequence[Measure], arm: str, schedule: str, threshold: float, rng: np.random.Generator
) -> list[ArmEffect]:
    """One effect per measure, verdicts with Holm over all of them."""
    pairs = [(one.values[VANILLA, schedule], one.values[arm, schedule]) for one in measures]
    by_checkpoint = [
        tuple(paired_difference(own[:, k] - vanilla[:, k]) for k in range(own.shape[1])) for vanilla, own in pairs
    ]
    final = verdicts([one[-1] for one in by_checkpoint], [one.higher_is_better for one in measures])
    return [
        ArmEffect(
            measure=measure.name,
            arm=arm,
            schedule=schedule,
            final=verdict,
            area=paired_difference(np.einsum("ski,k->si", own - vanilla, area_weights(measure.tokens_K))),
            difference_K=differences,
            course=course(measure.tokens_K, differences, measure.higher_is_better),
            threshold=tokens_to_threshold(vanilla, own, measure.tokens_K, threshold, measure.higher_is_better, rng),
        )
        for measure, (vanilla, own), differences, verdict in zip(measures, pairs, by_checkpoint, final, strict=True)
    ]


def _explained(measure: Measure, schedule: str) -> Explanation:
    vanilla, own, matched = (measure.values[arm, schedule][:, -1] for arm in (VANILLA, CURRICULUM, EXPOSURE_MATCHED))
    return explanation(
        paired_difference(own - vanilla),
        paired_difference(matched - vanilla),
        paired_difference(own - matched),
        measure.higher_is_better,
    )


def area_weights(tokens_K: Sequence[float]) -> Values:
    """Weights of the trapezoidal rule over tokens, summing to 1: the mean over training.

    >>> area_weights([0.0, 1.0, 4.0]).tolist()
    [0.125, 0.5, 0.375]
    """
    gap = np.diff(tokens_K)
    weights_K = np.zeros(len(tokens_K))
    weights_K[:-1] += gap / 2
    weights_K[1:] += gap / 2
    return np.asarray(weights_K / weights_K.sum())


# -- tokens to a threshold -------------------------------------------------------------------------------------------

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
            return say("not_reached", limit=self.limit)
        low, high = (say("above", limit=self.limit) if end is None else f"{end:.2f}" for end in (self.low, self.high))
        return say("reached", ratio=self.ratio, low=low, high=high)


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
    pair = sign * vanilla_SKI, sign * arm_SKI
    best_1K = [_best_DK(one_SKI.mean(axis=(0, 2))[None]) for one_SKI in pair]
    goal = float(np.interp(math.log(goal_tokens), where_K, best_1K[0][0]))
    centre = float(_crossing_D(best_1K[1], where_K, np.asarray([goal]))[0]) - math.log(goal_tokens)
    ratio_D = _redrawn_log_ratios_D(*pair, where_K, math.log(goal_tokens), rng)
    limit = 1 / share
    if not math.isfinite(centre):
        low = percentile_interval(ratio_D, CONFIDENCE, "closest_observation").low
        return TokensToThreshold(sign * goal, goal_tokens, None, _exp(low), None, limit)
    stretched_D = centre + widening(len(vanilla_SKI)) * (ratio_D - centre)
    low, high = percentile_interval(stretched_D, CONFIDENCE, "closest_observation")
    return TokensToThreshold(
        goal=sign * goal,
        goal_tokens=goal_tokens,
        ratio=math.exp(centre),
        low=_exp(low),
        high=_exp(high) if high <= math.log(limit) else None,
        limit=limit,
    )


def _redrawn_log_ratios_D(
    vanilla_SKI: Values, arm_SKI: Values, where_K: Values, log_goal_tokens: float, rng: np.random.Generator
) -> Values:
    """Log tokens of the arm over those of vanilla in each redraw; inf where the arm does not get there."""
    seeds, _, items = vanilla_SKI.shape
    seed_DS, item_DI = (redrawn_counts_DI(count, DRAWS, rng) / count for count in (seeds, items))
    vanilla_DK, arm_DK = (
        _best_DK(np.einsum("ds,ski,di->dk", seed_DS, one_SKI, item_DI, optimize=True))
        for one_SKI in (vanilla_SKI, arm_SKI)
    )
    goal_D = np.asarray([np.interp(log_goal_tokens, where_K, row) for row in vanilla_DK])
    return _crossing_D(arm_DK, where_K, goal_D) - log_goal_tokens


def _exp(log_ratio: float) -> float | None:
    return math.exp(log_ratio) if math.isfinite(log_ratio) else None


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
