from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from e2lm_tasks.building.prose import WordFrequency
from e2lm_tasks.trivial_baselines import byte_frequency_bits, choice_baselines, share_baseline, tied_accuracy


@given(st.integers(1, 2000), st.data())
def test_interval_is_wilsons(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    expected = binomtest(right, count).proportion_ci(method="wilson")
    found = share_baseline(right / count, count)
    assert found["low"] == pytest.approx(expected.low, abs=6e-5)
    assert found["high"] == pytest.approx(expected.high, abs=6e-5)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=6))
def test_points_of_all_positions_sum_to_one(scores: list[float]) -> None:
    assert sum(tied_accuracy(scores, gold) for gold in range(len(scores))) == pytest.approx(1)


def test_baselines_find_what_gives_items_away() -> None:
    frequency = WordFrequency(Counter({"common": 98, "rare": 2}), 100)
    rows = [{"choices": ["rare", "common", "rarer", "rarest"], "gold": 1}] * 100
    found = {name: value["value"] for name, value in choice_baselines(rows, frequency).items()}
    assert found["constant_choice"] == 1
    assert found["unigram_logprob"] == 1
    assert found["shortest_choice"] == 0
    assert found["longest_choice"] == pytest.approx(0.5)  # "common" and "rarest" are equally long


def test_unigram_probabilities_sum_to_at_most_one() -> None:
    frequency = WordFrequency(Counter({"common": 98, "rare": 2}), 100)
    total = sum(math.exp(frequency.log_probability(word)) for word in ("common", "rare", "never"))
    assert total == pytest.approx((99 + 3 + 1) / 103)


def test_byte_frequency_of_two_equal_bytes_is_about_one_bit() -> None:
    text = "ab" * 100_000
    assert byte_frequency_bits([text], ["abab", "aabb"])["value"] == pytest.approx(1, abs=5e-3)


def test_byte_frequency_has_the_95_percent_interval_of_a_mean_over_passages() -> None:
    bits = [-math.log2(101 / 456), -math.log2(101 / 456), -math.log2(1 / 456)]  # 100 each of two letters, one of all
    found = byte_frequency_bits(["ab" * 100], ["a", "b", "c"])
    half = 1.959964 * np.std(bits, ddof=1) / math.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((np.mean(bits) - half, np.mean(bits) + half), abs=6e-5)
