"""All numbers of a comparison: curves, differences from vanilla, verdicts, what explains them, tokens to a threshold.

Shape suffixes: S seeds, K checkpoints, I items, D draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2lm.arrays import Values
from e2lm.interval import percentile_interval, redrawn_counts_DI
from e2lm_curriculum.compare.difference import (
    CONFIDENCE,
    Difference,
    holm,
    paired_difference,
    paired_differences,
    widening,
)
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.verdict import ALPHA, Course, Explanation, Verdict, course, whole_word, word
from e2lm_curriculum.messages import say
from e2lm_curriculum.plan.arms import CURRICULUM, EXPOSURE_MATCHED, VANILLA


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


#: What is asked of a comparison, and its part of the 5 %: the curriculum against vanilla at the end; all other arms and
#: what explains an effect; what was there at an earlier checkpoint.
PART_OF_QUESTION, PART_OF_CONTROLS, PART_OF_COURSE = 0.5, 0.4, 0.1

#: Of a hypothesis: measure, arm (or the two arms that differ), schedule, and the place of its checkpoint.
_Key = tuple[str, str, str, int]


class _Family:
    """All that a report claims, judged at once: at most 5 of 100 reports say anything where nothing differs.

    Every claim of the report, from the verdict at the end to the first checkpoint with an effect, is one hypothesis
    of one weighted Holm procedure, so no two sentences about one difference can contradict each other. ``share`` is the
    part of the 5 % that this look at the runs has; p-values are adjusted for the other looks too.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._differences: dict[_Key, Difference] = {}
        self._parts: dict[_Key, float] = {}

    def ask(self, key: _Key, difference: Difference, part: float) -> None:
        """Whether ``difference`` is one; it shares ``part`` of the level with all others of this part."""
        self._differences[key], self._parts[key] = difference, part

    def judge(self) -> None:
        """Adjust all p-values, once everything was asked."""
        counts = Counter(self._parts.values())
        weights = [part / counts[part] for part in self._parts.values()]
        adjusted = holm([one.p for one in self._differences.values()], weights)
        self._p_holm = {key: min(1.0, p / self._share) for key, p in zip(self._differences, adjusted, strict=True)}
        whole = sum(counts)
        self._levels = {key: ALPHA * self._share * own / whole for key, own in zip(self._parts, weights, strict=True)}

    def verdict(self, key: _Key, higher_is_better: bool) -> Verdict:
        """The word on the difference under ``key``."""
        difference, p = self._differences[key], self._p_holm[key]
        return Verdict(word(difference, p, higher_is_better), difference, p, self._levels[key])

    def p_holm(self, key: _Key) -> float:
        """The adjusted p-value; 1 of what was not asked."""
        return self._p_holm.get(key, 1.0)


def analysed(measures: Sequence[Measure], threshold: float, seed: int = 0, share: float = 1.0) -> Analysis:
    """The analysis of all measures; ``seed`` is for redrawing seeds and items.

    ``share`` is the part of the 5 % of this look, if the runs are looked at several times: intervals hold 95 % over all
    looks.
    """
    cells = list(measures[0].values)
    arms = tuple(dict.fromkeys(arm for arm, _ in cells))
    schedules = tuple(dict.fromkeys(schedule for _, schedule in cells))
    pairs = [
        _Pair(measure, arm, schedule, share)
        for schedule in schedules
        for arm in arms
        for measure in measures
        if arm != VANILLA and {(VANILLA, schedule), (arm, schedule)} <= set(cells)
    ]
    explained = [
        (measure, schedule)
        for schedule in schedules
        for measure in measures
        if {(VANILLA, schedule), (CURRICULUM, schedule), (EXPOSURE_MATCHED, schedule)} <= set(cells)
    ]
    family = _asked(pairs, explained, share)
    rng = np.random.default_rng(seed)
    return Analysis(
        measures=tuple(measures),
        curves=tuple(tuple(_curve(one, cell, share) for cell in one.values) for one in measures),
        effects=tuple(_effect(pair, threshold, family, rng) for pair in pairs),
        explanations=tuple((one.name, schedule, _explained(one, schedule, family)) for one, schedule in explained),
        arms=arms,
        schedules=schedules,
    )


class _Pair:
    """An arm and vanilla on one measure, ``difference_K`` over the checkpoints and ``area``, in the mean over them."""

    def __init__(self, measure: Measure, arm: str, schedule: str, share: float) -> None:
        self.measure, self.arm, self.schedule, self.share = measure, arm, schedule, share
        self.vanilla_SKI, self.own_SKI = measure.values[VANILLA, schedule], measure.values[arm, schedule]
        difference_KSI = (self.own_SKI - self.vanilla_SKI).swapaxes(0, 1)
        area_SI = np.tensordot(area_weights(measure.tokens_K), difference_KSI, axes=1)
        *self.difference_K, self.area = paired_differences(
            np.append(difference_KSI, area_SI[None], axis=0), held(share)
        )

    @property
    def keys(self) -> list[_Key]:
        """Of the differences at all checkpoints."""
        return [(self.measure.name, self.arm, self.schedule, place) for place in range(len(self.difference_K))]


def held(share: float) -> float:
    """How many intervals of one look hold the true value, so that those of all looks together do in 95 of 100 cases."""
    return 1.0 - ALPHA * share


def _asked(pairs: Sequence[_Pair], explained: Sequence[tuple[Measure, str]], share: float) -> _Family:
    family = _Family(share)
    for pair in pairs:
        at_end = PART_OF_QUESTION if pair.arm == CURRICULUM else PART_OF_CONTROLS
        *before, last = zip(pair.keys, pair.measure.tokens_K, pair.difference_K, strict=True)
        family.ask(last[0], last[2], at_end)
        for key, tokens, one in before:
            if tokens > 0:
                family.ask(key, one, PART_OF_COURSE)
    for measure, schedule in explained:
        own, matched = (measure.values[arm, schedule][:, -1] for arm in (CURRICULUM, EXPOSURE_MATCHED))
        order = paired_difference(own - matched, held(share))
        family.ask(_order_key(measure, schedule), order, PART_OF_CONTROLS)
    if pairs:
        family.judge()
    return family


def _order_key(measure: Measure, schedule: str) -> _Key:
    return measure.name, f"{CURRICULUM} - {EXPOSURE_MATCHED}", schedule, len(measure.tokens_K) - 1


def _curve(measure: Measure, cell: tuple[str, str], share: float) -> ArmCurve:
    score_KS = measure.values[cell].mean(axis=2).T
    area_S = area_weights(measure.tokens_K) @ score_KS
    *means, area = paired_differences(np.append(score_KS, area_S[None], axis=0)[:, :, None], held(share))
    return ArmCurve(*cell, tuple(means), float(score_KS[-1].std(ddof=1)), area)


def _effect(pair: _Pair, threshold: float, family: _Family, rng: np.random.Generator) -> ArmEffect:
    measure, higher = pair.measure, pair.measure.higher_is_better
    p_holm_K = [family.p_holm(key) for key in pair.keys]
    return ArmEffect(
        measure=measure.name,
        arm=pair.arm,
        schedule=pair.schedule,
        final=family.verdict(pair.keys[-1], higher),
        area=pair.area,
        difference_K=tuple(pair.difference_K),
        course=course(measure.tokens_K, pair.difference_K, higher, p_holm_K),
        threshold=tokens_to_threshold(
            pair.vanilla_SKI, pair.own_SKI, measure.tokens_K, threshold, higher, rng, held(pair.share)
        ),
    )


def _explained(measure: Measure, schedule: str, family: _Family) -> Explanation:
    last = len(measure.tokens_K) - 1
    keys: tuple[_Key, ...] = (
        (measure.name, CURRICULUM, schedule, last),
        (measure.name, EXPOSURE_MATCHED, schedule, last),
        _order_key(measure, schedule),
    )
    return Explanation(*(family.verdict(key, measure.higher_is_better) for key in keys))


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
    confidence: float = CONFIDENCE,
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
    goal = float(_at_D(best_1K[0], where_K, math.log(goal_tokens))[0])
    centre = float(_crossing_D(best_1K[1], where_K, np.asarray([goal]))[0]) - math.log(goal_tokens)
    ratio_D = _redrawn_log_ratios_D(*pair, where_K, math.log(goal_tokens), rng)
    limit = 1 / share
    if not math.isfinite(centre):
        low = percentile_interval(ratio_D, confidence, "closest_observation").low
        return TokensToThreshold(sign * goal, goal_tokens, None, _exp(low), None, limit)
    stretched_D = centre + widening(len(vanilla_SKI), confidence) * (ratio_D - centre)
    low, high = percentile_interval(stretched_D, confidence, "closest_observation")
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
    vanilla_DK, arm_DK = (_best_DK(_redrawn_DK(one_SKI, seed_DS, item_DI)) for one_SKI in (vanilla_SKI, arm_SKI))
    return _crossing_D(arm_DK, where_K, _at_D(vanilla_DK, where_K, log_goal_tokens)) - log_goal_tokens


def _redrawn_DK(values_SKI: Values, seed_DS: Values, item_DI: Values) -> Values:
    """The curve of each redraw, whose weights sum to 1; items first, which leaves the least to hold."""
    scores_SKD = (values_SKI.reshape(-1, item_DI.shape[1]) @ item_DI.T).reshape(*values_SKI.shape[:2], -1)
    return np.asarray((seed_DS.T[:, None] * scores_SKD).sum(axis=0).T)


def _at_D(curve_DK: Values, where_K: Values, where: float) -> Values:
    """Each curve at ``where``, straight between checkpoints and level beyond them.

    >>> _at_D(np.array([[0.0, 1.0, 5.0], [2.0, 2.0, 3.0]]), np.array([0.0, 1.0, 2.0]), 1.5)
    array([3. , 2.5])
    """
    after = int(np.clip(np.searchsorted(where_K, where), 1, len(where_K) - 1))
    share = np.clip((where - where_K[after - 1]) / (where_K[after] - where_K[after - 1]), 0.0, 1.0)
    return np.asarray(curve_DK[:, after - 1] + share * (curve_DK[:, after] - curve_DK[:, after - 1]))


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
    place_D = (curve_DK < goal_D[:, None]).sum(axis=1)
    after_D = np.clip(place_D, 1, curve_DK.shape[1] - 1)
    low_D, high_D = (np.take_along_axis(curve_DK, at_D[:, None], axis=1)[:, 0] for at_D in (after_D - 1, after_D))
    with np.errstate(invalid="ignore", divide="ignore"):  # of rows whose goal is not between two checkpoints
        share_D = (goal_D - low_D) / (high_D - low_D)
    found_D = where_K[after_D - 1] + share_D * (where_K[after_D] - where_K[after_D - 1])
    found_D = np.where(place_D == 0, where_K[0], found_D)
    return np.asarray(np.where(place_D == curve_DK.shape[1], np.inf, found_D))
