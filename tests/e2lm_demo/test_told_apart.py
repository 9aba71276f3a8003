"""How often two equal recipes are told apart, and that different ones are."""

from __future__ import annotations

import numpy as np
import pytest

from e2lm_demo.told_apart import RecipeCurves, pairs_told

SHARES_K = np.linspace(0.0, 1.0, 9)


def seeds_of(kind, rng):
    """Four runs of one recipe, which differ by their seeds alone."""
    noise_SK = rng.normal(size=(4, 9))
    if kind == "walk":
        return np.cumsum(noise_SK, axis=1)
    if kind == "late or early":
        return 1 / (1 + np.exp(-10 * (SHARES_K - 0.6 - 0.05 * rng.normal(size=(4, 1))))) + 0.01 * noise_SK
    for k in range(1, 9 if kind == "lasting" else 0):
        noise_SK[:, k] = 0.7 * noise_SK[:, k - 1] + np.sqrt(1 - 0.7**2) * noise_SK[:, k]
    return noise_SK


def told(runs_SK, stderr=0.0, comparisons=1):
    """Of a recipe with two seeds and two with one each, best first."""
    parts = (runs_SK[:2], runs_SK[2:3], runs_SK[3:])
    recipes = [RecipeCurves(name, part, np.full(part.shape, stderr)) for name, part in zip("abc", parts, strict=True)]
    return pairs_told(recipes, SHARES_K, comparisons)


@pytest.mark.parametrize(
    ("kind", "most"), [("white", 0.02), ("lasting", 0.02), ("late or early", 0.02), ("walk", 0.14)]
)
def test_equal_recipes_are_told_apart_as_often_as_the_page_says(kind, most):
    rng = np.random.default_rng(1)
    pairs = [pair for _ in range(300) for pair in told(seeds_of(kind, rng))]
    share = np.mean([pair.share is not None for pair in pairs])
    assert share <= most + 2 * np.sqrt(most * (1 - most) / len(pairs))


def test_a_large_difference_is_told_rightly_from_where_it_begins():
    runs_SK = np.array([[0.5], [0.52], [0.4], [0.3]]) + np.zeros(9)
    runs_SK[:, :4] = 0.5
    assert [(pair.share, pair.is_right) for pair in told(runs_SK, 0.01)] == [(0.5, True)] * 3
    assert [(pair.share, pair.is_right) for pair in told(1 - runs_SK, 0.01)] == [(0.5, False)] * 3
    assert [pair.share for pair in told(runs_SK, 0.1)] == [None] * 3


def test_one_and_a_half_times_what_two_seeds_ever_differ_by_is_not_enough():
    runs_SK = np.array([[0.5], [0.5], [0.45], [0.3]]) + np.zeros(9)
    runs_SK[1, 2] = 0.54  # once, 1.5 times which is .06
    assert [pair.share for pair in told(runs_SK)] == [None, 0.0, 0.0]
    runs_SK[1, 2], runs_SK[1, 0] = 0.5, 0.52  # before training: no difference of seeds
    assert told(runs_SK)[0].share == 0.0


def test_the_last_checkpoint_alone_tells_nothing():
    runs_SK = np.full((4, 9), 0.5)
    runs_SK[3, 8] = 0.1
    assert [pair.share for pair in told(runs_SK)] == [None] * 3
    runs_SK[3, 7] = 0.1
    assert [pair.share for pair in told(runs_SK)] == [None, 0.875, 0.875]


def test_the_price_of_more_comparisons_is_a_larger_difference():
    def is_told(comparisons, gap):
        runs_SK = np.array([[0.5], [0.5], [0.5 - gap], [0.5]]) + np.zeros(9)
        return told(runs_SK, 0.01, comparisons)[0].share is not None

    assert is_told(1, 0.028)
    assert not is_told(1, 0.027)  # 1.96 times the root of 2 times .01
    assert not is_told(45, 0.045)
    assert is_told(45, 0.047)
