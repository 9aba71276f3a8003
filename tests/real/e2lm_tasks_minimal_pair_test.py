"""BLiMP and Zorro as published: all pairs are there, and what the reference says about them holds."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from e2lm_tasks.minimal_pair import rows, word_frequency
from e2lm_tasks.minimal_pair_files import read_pairs

CORPORA = Path(__file__).parents[3] / "shared" / "data" / "corpora"

pytestmark = pytest.mark.skipif(not (CORPORA / "blimp").is_dir(), reason="the corpora are not beside the repository")


def words(sentence: str) -> list[str]:
    return re.findall(r"[\w']+", sentence.lower())


def test_blimp_has_67_paradigms_of_a_thousand_pairs() -> None:
    counts = Counter(pair.paradigm for pair in read_pairs("blimp", str(CORPORA / "blimp"), "test"))
    assert len(counts) == 67
    assert set(counts.values()) == {1000}


def test_the_babylm_filter_leaves_59875_of_67000_pairs() -> None:
    assert len(read_pairs("blimp-babylm", str(CORPORA / "blimp"), "test")) == 59_875


def test_zorro_has_23_paradigms_of_two_thousand_pairs() -> None:
    counts = Counter(pair.paradigm for pair in read_pairs("zorro", str(CORPORA / "zorro"), "test"))
    assert len(counts) == 23
    assert set(counts.values()) == {2000}


def test_a_fifth_of_blimp_are_permutations_that_word_counts_cannot_tell_apart() -> None:
    pairs = read_pairs("blimp", str(CORPORA / "blimp"), "test")
    same = [Counter(words(pair.good)) == Counter(words(pair.bad)) for pair in pairs]
    assert sum(same) / len(same) == pytest.approx(0.196, abs=0.001)
    some = [pair for pair, is_same in zip(pairs, same, strict=True) if is_same][:200]
    assert {row["unigram"] for row in rows(some, word_frequency(some, "test"))} == {0.5}
