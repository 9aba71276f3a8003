"""One error rate for a whole report; steps saved: the ratio and its interval, where both can be worked out."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from e2lm_curriculum.compare import analysis as module
from e2lm_curriculum.compare.analysis import Analysis, TokensToThreshold, analysed, tokens_to_threshold
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.verdict import ALPHA, NO_DIFFERENCE
from e2lm_curriculum.plan.arms import ARMS

TOKENS = tuple(float(tokens) for tokens in np.geomspace(1e5, 1e9, 30))

Values = NDArray[np.float64]


def straight_SKI(shift_SI: Values) -> Values:
    """Scores that rise by 1 per e-folding of tokens; a shift is a head start, in e-foldings."""
    return shift_SI[:, None, :] + np.log(TOKENS)[None, :, None]


def threshold(vanilla_SI: Values, arm_SI: Values, confidence: float = 0.95) -> TokensToThreshold:
    """At half of the tokens."""
    return tokens_to_threshold(
        straight_SKI(vanilla_SI), straight_SKI(arm_SI), TOKENS, 0.5, True, np.random.default_rng(0), confidence
    )


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_interval_over_seeds_is_that_of_students_t_for_the_paired_head_starts(confidence: float) -> None:
    rng = np.random.default_rng(1)
    shared_S1 = 0.5 * rng.normal(size=(12, 1))
    own_S1 = 0.1 * rng.normal(size=(12, 1))
    found = threshold(shared_S1, shared_S1 + 0.4 + own_S1, confidence)
    half = float(stats.t.ppf(0.5 + confidence / 2, 11)) * own_S1.std(ddof=1) / math.sqrt(12)
    assert found.low is not None
    assert found.high is not None
    assert found.ratio == pytest.approx(math.exp(-0.4 - own_S1.mean()))
    assert math.log(found.ratio / found.low) == pytest.approx(half, rel=0.15)
    assert math.log(found.high / found.ratio) == pytest.approx(half, rel=0.15)


def test_items_are_redrawn_too_and_stretched_alike() -> None:
    own_I = 0.5 * np.random.default_rng(2).normal(size=100)
    alike_SI = np.zeros((5, 100))
    found = threshold(alike_SI, alike_SI + 0.3 + own_I)
    stretched = float(stats.t.ppf(0.975, 4)) * math.sqrt(5 / 4)
    half = stretched * own_I.std() / math.sqrt(100)
    assert found.low is not None
    assert found.high is not None
    assert math.log(found.high / found.low) == pytest.approx(2 * half, rel=0.1)


@pytest.mark.parametrize(("seeds", "higher"), [(3, True), (5, False)])
def test_at_least_nineteen_in_twenty_intervals_hold_the_true_head_start(seeds: int, higher: bool) -> None:
    rng = np.random.default_rng(3)
    sign = 1.0 if higher else -1.0
    held = []
    for _ in range(200):
        vanilla_SI, arm_SI = 0.1 * rng.normal(size=(seeds, 1)), 0.3 + 0.1 * rng.normal(size=(seeds, 1))
        found = tokens_to_threshold(
            sign * straight_SKI(vanilla_SI), sign * straight_SKI(arm_SI), TOKENS, 0.5, higher, rng
        )
        low, high = found.low or 0.0, found.high or math.inf
        held.append(low <= math.exp(-0.3) <= high)
    assert np.mean(held) >= 0.92


def test_an_arm_that_does_not_get_there_has_no_ratio_and_a_lower_end_from_the_redraws_that_do() -> None:
    own_S1 = np.array([[-0.3], [-0.12], [0.0], [0.05], [0.14], [0.23]])
    found = threshold(np.zeros((6, 1)), own_S1 - own_S1.mean() - math.log(2) - 0.02)
    assert (found.ratio, found.high) == (None, None)
    assert (found.goal, found.goal_tokens) == pytest.approx((math.log(5e8), 5e8), rel=1e-3)
    every = -(own_S1[np.array(list(product(range(6), repeat=6)))] - own_S1.mean()).mean(axis=(1, 2))
    assert found.low is not None
    assert math.log(found.low) == pytest.approx(math.log(2) + 0.02 + np.quantile(every, 0.025), abs=0.015)
    assert found.limit == 2.0


def curves_SKI(*scores_K: float) -> Values:
    """Three seeds that are alike, one item."""
    return np.repeat(np.array(scores_K)[None, :, None], 3, axis=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_between_checkpoints_curves_are_straight_in_log_tokens_and_step_0_is_a_tenth_of_the_first(sign: float) -> None:
    tokens = (0.0, 1.0, 10.0)
    vanilla, arm = sign * curves_SKI(0.0, 1.0, 2.0), sign * curves_SKI(0.0, 2.0, 3.0)
    found = tokens_to_threshold(vanilla, arm, tokens, 0.5, sign > 0, np.random.default_rng(0))
    # At 5 tokens vanilla has 1 + log10 5; the arm had that on the way from step 0 to 2, between 0.1 and 1 token.
    goal = 1 + math.log10(5)
    assert (found.goal, found.goal_tokens) == (pytest.approx(sign * goal), 5.0)
    assert found.ratio == pytest.approx(10 ** (goal / 2 - 1) / 5)
    # Runs that are all alike differ in no redraw.
    assert (found.low, found.high) == (pytest.approx(found.ratio), pytest.approx(found.ratio))


def test_an_arm_that_begins_above_the_goal_had_it_from_the_start() -> None:
    found = tokens_to_threshold(
        curves_SKI(0.0, 1.0, 2.0), curves_SKI(5.0, 5.0, 5.0), (0.0, 1.0, 10.0), 0.5, True, np.random.default_rng(0)
    )
    assert found.ratio == pytest.approx(0.1 / 5)


@pytest.mark.parametrize("shift", [0.3, -0.2])
def test_redraws_of_three_seeds_are_stretched_each_to_its_own_side(shift: float) -> None:
    """One seed of three has a head start: its mean over redraws is 0, 1, 2 or 3 thirds in 8, 12, 6 and 1 of 27."""
    found = threshold(np.zeros((3, 1)), np.array([[0.0], [0.0], [shift]]))
    stretched = float(stats.t.ppf(0.975, 2) / stats.norm.ppf(0.975)) * math.sqrt(3 / 2)
    ends = sorted([-shift / 3 + stretched * shift / 3, -shift / 3 - stretched * 2 * shift / 3])
    assert found.ratio == pytest.approx(math.exp(-shift / 3))
    assert (found.low, found.high) == (pytest.approx(math.exp(ends[0])), pytest.approx(math.exp(ends[1])))


def test_an_end_beyond_the_training_of_the_arm_is_not_told() -> None:
    found = threshold(np.zeros((3, 1)), np.array([[0.0], [0.0], [-0.4]]))
    # It would be exp(0.13 + 2.69 * 0.27), 2.3 times the tokens; vanilla's goal leaves the arm twice as many.
    assert found.high is None
    assert found.sentence == "1.14x [0.80, above 2.00]"


# -- one error rate --------------------------------------------------------------------------------------------------


def report_of(rng: np.random.Generator, planted: float = 0.0, fades: float = 0.0) -> Analysis:
    """Five arms, two learning rates, three measures, five seeds; ``planted`` throughout, ``fades`` at the first alone.

    Vanilla is shared, checkpoints of a run and items go together, as they do.
    """
    measures = []
    for number in range(3):
        values = {}
        item_I = rng.normal(size=6)
        for schedule in ("cosine", "constant"):
            seed_S11 = 0.05 * rng.normal(size=(5, 1, 1))
            for arm in ARMS:
                own = 0.03 * rng.normal(size=(5, 1, 1)) + 0.02 * rng.normal(size=(5, 3, 1))
                values[arm, schedule] = item_I + seed_S11 + own + 0.05 * rng.normal(size=(5, 3, 6))
                if arm in {"curriculum", "exposure-matched"}:
                    values[arm, schedule] = values[arm, schedule] + planted
                    values[arm, schedule][:, 0] += fades
        seeds = {schedule: tuple(range(5)) for schedule in ("cosine", "constant")}
        measures.append(Measure(f"m{number}", "accuracy", True, (1.0, 2.0, 3.0), values, seeds))
    return analysed(measures, 0.8)


def claims(report: Analysis) -> list[str]:
    """Everything in a report that says that something differs."""
    found = [one.final.word for one in report.effects if one.final.word != NO_DIFFERENCE]
    found += [one.course.sentence for one in report.effects if one.course.first_tokens is not None]
    return found + [one.sentence for _, _, one in report.explanations if "no detectable effect" not in one.sentence]


@pytest.fixture
def few_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 2)


@pytest.mark.usefixtures("few_redraws")
def test_a_whole_report_without_anything_to_find_claims_anything_in_at_most_one_of_twenty() -> None:
    rng = np.random.default_rng(4)
    assert np.mean([bool(claims(report_of(rng))) for _ in range(100)]) <= 0.06


@pytest.mark.usefixtures("few_redraws")
def test_a_planted_effect_is_found_beside_all_that_is_asked_and_no_row_contradicts_itself() -> None:
    rng = np.random.default_rng(5)
    reports = [report_of(rng, planted=0.18) for _ in range(20)]
    assert np.mean([report.verdict("curriculum", "cosine") == "better" for report in reports]) >= 0.8
    for report in reports:
        for one in report.effects:
            assert one.course.last_word == one.final.word
        words = {(one.measure, one.arm, one.schedule): one.final for one in report.effects}
        for measure, schedule, found in report.explanations:
            assert found.total == words[measure, "curriculum", schedule]
            assert found.reweighting == words[measure, "exposure-matched", schedule]


@pytest.mark.usefixtures("few_redraws")
def test_an_effect_that_fades_is_told_and_the_end_is_not_claimed() -> None:
    report = report_of(np.random.default_rng(6), fades=5.0)
    (sentence,) = {one.course.sentence for one in report.effects if one.arm == "curriculum"}
    assert sentence == "better from 1 tokens on, fades by 2 tokens"
    assert report.verdict("curriculum", "cosine") == NO_DIFFERENCE


@pytest.mark.usefixtures("few_redraws")
def test_the_question_has_half_of_the_level_and_all_parts_make_five_percent() -> None:
    report = report_of(np.random.default_rng(7))
    levels = [one.final.level for one in report.effects if one.arm == "curriculum"]
    assert levels == pytest.approx([ALPHA * 0.5 / 6] * 6)
    controls = [one.final.level for one in report.effects if one.arm != "curriculum"]
    controls += [one.order.level for _, _, one in report.explanations]
    assert sum(controls) == pytest.approx(ALPHA * 0.4)
    assert len(controls) == 24
