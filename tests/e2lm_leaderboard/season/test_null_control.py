"""What does not depend on the answers has nothing above its null; what does keeps nearly all of its score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm import ItemMetric, Samples, SignalScore
from e2lm.item_metric import ItemChoices, MetricFailedError
from e2lm.plugin_manager import plugin_manager
from e2lm.signal_score import SeriesRoles
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.ranking.ranking import ABOVE, ABOVE_NULL, ANSWER_SHARE, NOT_ABOVE, NULL_SCORE, group_of
from e2lm_leaderboard.season import null_control
from e2lm_leaderboard.season.curves import RunFacts, SampleMetric, cut, item_curves
from e2lm_leaderboard.season.null_control import NullCurves, NullDraws, null_results, values_by_truth
from e2lm_leaderboard.store.store import Result

ITEMS, CHOICES, STEPS = 160, 4, 9
WORDS = ("sun", "sea", "old", "stone", "river", "garden", "morning", "mountain")

Logliks = Callable[[np.random.Generator, float, NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def knowledge(
    rng: np.random.Generator, progress: float, gold_I: NDArray[np.int64], length_IC: NDArray[np.int64]
) -> NDArray[np.float64]:
    """All texts become more probable, and the true ones more than the others."""
    loglik_IC = -length_IC * (3.0 - 1.5 * progress) + rng.normal(0, 1.5, length_IC.shape)
    loglik_IC[np.arange(ITEMS), gold_I] += 4.0 * progress
    return loglik_IC


def fluency(
    rng: np.random.Generator, progress: float, gold_I: NDArray[np.int64], length_IC: NDArray[np.int64]
) -> NDArray[np.float64]:
    """All texts become more probable, long ones most; which is true changes nothing."""
    return -length_IC * (3.0 - 1.5 * progress) + progress * length_IC**2 / 12 + rng.normal(0, 1.5, length_IC.shape)


def entry(gold: str, logliks: Logliks, seed: int = 0) -> tuple[list[Samples], list[TaskItem]]:
    rng = np.random.default_rng(seed)
    texts = [[" ".join(rng.choice(WORDS, size=1 + place)) for place in rng.permutation(CHOICES)] for _ in range(ITEMS)]
    length_IC = np.array([[len(text) for text in choices] for choices in texts])
    gold_I = {
        "drawn": rng.integers(CHOICES, size=ITEMS),
        "longest": length_IC.argmax(axis=1),
        "first": np.zeros(ITEMS, dtype=np.int64),
    }[gold]
    there_IC = np.ones_like(length_IC, dtype=bool)
    samples = []
    for series in ("a", "b"):
        for step in range(STEPS):
            loglik_IC = logliks(rng, step / (STEPS - 1), gold_I, length_IC)
            choices = ItemChoices(loglik_IC, there_IC, length_IC, length_IC, length_IC, gold_I)
            samples.append(Samples(series, step, "t", np.arange(ITEMS), choices, there_IC))
    items = [
        TaskItem("Which?", tuple(one), int(gold), k) for k, (one, gold) in enumerate(zip(texts, gold_I, strict=True))
    ]
    return samples, items


def numbers(gold: str, logliks: Logliks, metric: str, score: str = "signal_quality") -> dict[str, Result]:
    samples, items = entry(gold, logliks)
    found: ItemMetric = plugin_manager().find("e2lm_register_metrics", ItemMetric, metric, "metric")
    known: SignalScore = plugin_manager().find("e2lm_register_signal_scores", SignalScore, score, "score")
    values = SampleMetric.of_metric(found)
    facts = {series: RunFacts(1e6, {step: step * 1e6 for step in range(STEPS)}) for series in ("a", "b")}
    null = NullCurves.of(item_curves(samples, values, facts), samples, values_by_truth(values.values), {"t": items})
    every_I = np.ones(ITEMS, dtype=bool)
    results = null_results("public", null, lambda curve: cut(curve, every_I, None), known, 0, SeriesRoles())
    return {one.score: one for one in results if not one.series}


def test_an_honest_entry_keeps_its_score_above_its_null() -> None:
    found = numbers("drawn", knowledge, "acc_norm")
    assert group_of(found[ABOVE_NULL]) == ABOVE
    assert found[ANSWER_SHARE].value is not None
    assert found[ANSWER_SHARE].value > 0.6
    assert found[NULL_SCORE].value is not None
    assert abs(found[NULL_SCORE].value) < 0.3


@pytest.mark.parametrize("metric", ["total_prob_per_char", "gold_loglik_per_byte"])
def test_answers_drawn_at_random_have_nothing_above_their_null(metric: str) -> None:
    found = numbers("drawn", fluency, metric)
    assert group_of(found[ABOVE_NULL]) == NOT_ABOVE
    assert found[NULL_SCORE].value is not None
    assert found[NULL_SCORE].value > 0.8, "the curve rises whatever the answers are"


def test_a_truth_that_is_always_the_longest_choice_is_the_same_in_its_null() -> None:
    found = numbers("longest", fluency, "acc")
    assert found[NULL_SCORE].value is not None
    assert found[NULL_SCORE].value > 0.5
    assert found[ABOVE_NULL].value == pytest.approx(0.0, abs=0.05)
    assert group_of(found[ABOVE_NULL]) == NOT_ABOVE
    assert "how long" in found[NULL_SCORE].reason


def test_a_truth_at_one_place_alone_has_nothing_above_its_null() -> None:
    assert group_of(numbers("first", knowledge, "acc_norm")[ABOVE_NULL]) == NOT_ABOVE


@pytest.mark.parametrize("score", ["signal_quality", "e2lmc_sq", "e2lmc_global"])
def test_a_curve_that_never_moves_has_no_rank(score: str) -> None:
    def still(*arguments: object) -> NDArray[np.float64]:
        return np.full((ITEMS, CHOICES), -1.0)

    found = numbers("drawn", still, "acc", score)
    assert found[ABOVE_NULL].value is None
    assert "never moves" in found[ABOVE_NULL].reason


def test_the_part_above_a_null_below_zero_is_no_more_than_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = [{"": value, "a": value, "b": value} for value in np.linspace(-0.4, 0.0, 20)]
    monkeypatch.setattr(null_control, "null_draws", lambda *_: NullDraws({"any": draws}))
    found = numbers("drawn", knowledge, "acc_norm")[ABOVE_NULL]
    assert found.value is not None
    assert found.high is not None
    assert 0.8 < found.value <= found.high <= 1.0


@pytest.mark.parametrize("given", [np.zeros(3), None])
def test_a_metric_of_a_plugin_that_fails_says_so_by_name(given: NDArray[np.float64] | None) -> None:
    def per_item(choices: ItemChoices) -> NDArray[np.float64]:
        if given is None:
            raise ZeroDivisionError("no tokens")
        return given

    broken = SampleMetric.of_metric(ItemMetric("broken", "A metric that fails.", per_item))
    samples, _ = entry("drawn", fluency)
    with pytest.raises(MetricFailedError, match="'broken'"):
        item_curves(samples, broken, {series: RunFacts(1e6, {}) for series in ("a", "b")})
