"""All numbers of a comparison: curves, differences from vanilla, verdicts, and what explains them.

Shape suffixes: S seeds, K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm_curriculum.arm import CURRICULUM, EXPOSURE_MATCHED, VANILLA
from e2lm_curriculum.comparison_difference import Difference, mean_interval, paired_difference
from e2lm_curriculum.comparison_measures import Measure
from e2lm_curriculum.comparison_threshold import TokensToThreshold, tokens_to_threshold
from e2lm_curriculum.verdict import Course, Explanation, Verdict, course, explanation, verdicts, whole_word

Values = NDArray[np.float64]


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
