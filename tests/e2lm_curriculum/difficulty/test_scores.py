from __future__ import annotations

import json
import math
import random
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from e2lm.curriculum import Curriculum, Difficulty, Plan, TrainingBudget, TrainingText
from e2lm.errors import E2LMError, UserError
from e2lm.words import sentence_count, words
from e2lm_curriculum.corpus.reader import tagged_text, token_tags
from e2lm_curriculum.difficulty.measures import (
    GRAMMATICAL_FIRST,
    SPOKEN_FIRST,
    flesch_reading_ease,
    ngram_perplexity,
    syllables,
)
from e2lm_curriculum.difficulty.scores import difficulties, difficulty_of, scored
from e2lm_curriculum.plan.builder import chosen_curriculum

WORDS = ["the", "cat", "sat", "on", "a", "mat", "antidisestablishmentarianism", ".", "ran", "idiosyncratically"]

EASY = [0, 1, 2, 7, 0, 1, 2, 7]
HARD = [6, 9, 6, 5, 9, 3, 6, 9]


def text_of(rows: list[list[int]], tags: list[list[int]] | None = None) -> TrainingText:
    return TrainingText(
        blocks_XT=np.array(rows, dtype=np.uint16),
        vocabulary=len(WORDS),
        sources_X=np.array([row % 2 for row in range(len(rows))]),
        source_names=("Gutenberg.train", "aochildes"),
        decode=lambda row_T: " ".join(WORDS[token] for token in row_T),
        tags_XT=None if tags is None else np.array(tags, dtype=np.int8),
    )


TEXT = text_of([EASY, EASY, EASY, HARD])


@pytest.mark.parametrize("name", ["length", "unigram-perplexity", "ngram-perplexity", "rarity", "readability"])
def test_rare_long_words_are_harder_than_repeated_short_ones(name: str) -> None:
    scores_X = difficulties()[name].score(TEXT)
    assert scores_X.shape == (4,)
    assert scores_X[3] > scores_X[0] == scores_X[1]


def test_text_that_repeats_itself_compresses_better() -> None:
    scores_X = difficulties()["compression"].score(
        text_of([[0, 1] * 8, list(range(8)) * 2, [*range(10), 2, 4, 1, 3, 0, 5]])
    )
    assert scores_X[0] < scores_X[1]
    assert scores_X[0] < scores_X[2]


def test_unigram_perplexity_is_the_formula_of_climb() -> None:
    counts = Counter(TEXT.blocks_XT.ravel().tolist())
    shares = [counts[token] / TEXT.blocks_XT.size for token in HARD]
    expected = 2 ** (-np.mean(np.log2(shares)))  # NLTK's perplexity of an MLE model
    assert difficulties()["unigram-perplexity"].score(TEXT)[3] == pytest.approx(expected)


def test_a_text_is_not_predicted_by_itself() -> None:
    # The last row is like no other; counts that hold its own trigrams would make it the easiest of all.
    tokens_XT = np.array([[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 3], [5, 6, 7, 8]])
    perplexity_X = ngram_perplexity(tokens_XT, 9)
    assert perplexity_X.argmax() == 3
    # By hand, first place of the last row: 0.1 * (0 + 1) / (15 + 9), nothing else is known there.
    share = 0.1 / 24
    assert perplexity_X[3] == pytest.approx(1 / share)


def test_an_interpolated_trigram_is_as_computed_by_hand() -> None:
    tokens_XT = np.array([[0, 1, 2], [0, 1, 2]])
    total, symbols = 6, 3
    first = 0.1 * 2 / (total - 1 + symbols)
    # Left out once, "0" was followed by "1" once in one; "0 1" by "2" once in one.
    second, third = first + 0.3 * 1.0, first + 0.3 * 1.0 + 0.6 * 1.0
    expected = np.exp(-np.log([first, second, third]).mean())
    assert np.allclose(ngram_perplexity(tokens_XT, symbols), expected)


def test_flesch_agrees_with_counting_by_hand() -> None:
    # 13 words, 2 sentences, 15 syllables.
    text = "The cat sat on the mat. It was a table of green stone."
    assert flesch_reading_ease(text) == pytest.approx(206.835 - 1.015 * 13 / 2 - 84.6 * 14 / 13)


def test_climbs_source_orders_name_all_parts_of_babylm() -> None:
    assert set(SPOKEN_FIRST) == set(GRAMMATICAL_FIRST)
    assert len(SPOKEN_FIRST) == 12
    assert difficulties()["source-spoken-first"].score(TEXT).tolist() == [6.0, 1.0, 6.0, 1.0]
    assert difficulties()["source-grammatical-first"].score(TEXT).tolist() == [3.0, 6.0, 3.0, 6.0]
    assert difficulties()["file"].score(TEXT).tolist() == [0.0, 1.0, 0.0, 1.0]


def test_parts_of_speech_that_vary_are_harder() -> None:
    rows = [[0] * 8] * 4
    text = text_of(rows, tags=[[5, 0, 1, 10] * 2] * 3 + [[11, 3, 9, 7, 0, 2, 8, 6]])
    scores_X = difficulties()["pos-perplexity"].score(text)
    assert scores_X[3] > scores_X[0]
    with pytest.raises(UserError, match="needs a corpus with tags"):
        difficulties()["pos-perplexity"].score(TEXT)


def test_a_text_is_scored_once_and_anew_by_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def score(text: TrainingText) -> np.ndarray:
        calls.append(text)
        return np.arange(len(text.blocks_XT), dtype=float)

    first = scored(Difficulty("mine", "Mine.", score), TEXT, "data")
    again = scored(Difficulty("mine", "Mine.", score), TEXT, "data")
    assert len(calls) == 1
    assert first.scores_X.tolist() == again.scores_X.tolist()
    assert first.cpu_s == again.cpu_s
    scored(Difficulty("mine", "Mine.", score, version=2), TEXT, "data")
    scored(Difficulty("mine", "Mine.", score), TEXT, "other data")
    assert len(calls) == 3
    costs = [json.loads(file.read_text())["cpu_s"] for file in tmp_path.rglob("*.json")]
    assert len(costs) == 3
    assert min(costs) >= 0.0


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(E2LMError, match="not finite"):
        scored(Difficulty("bad", "Bad.", lambda text: np.full(4, np.nan)), TEXT, "data")
    assert not list(tmp_path.rglob("*.npy"))


def test_a_strangers_curriculum_brings_its_own_difficulty() -> None:
    mine = Difficulty("mine", "Mine.", lambda text: np.zeros(len(text.blocks_XT)))
    plan = Plan(np.zeros((1, 1), dtype=int))
    assert difficulty_of(Curriculum("c", "C.", lambda *_: plan, difficulty=mine)) is mine
    with pytest.raises(UserError, match="Did you mean 'rarity'"):
        difficulty_of(Curriculum("c", "C.", lambda *_: plan, difficulty="raritty"))


def test_tags_follow_their_words_into_tokens() -> None:
    text, tags = tagged_text({"words": ["The", "cats", "sat"], "tags": ["DET", "NOUN", "VERB"]}, "f:1")
    assert text == "The cats sat"
    # Tokens "The", " cat", "s", " sat".
    assert token_tags([(0, 3), (3, 7), (7, 8), (8, 12)], tags).tolist() == [5, 0, 0, 1]
    assert token_tags([(0, 3), (3, 7)], b"").tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"words": ["a"], "tags": ["DET", "NOUN"]}, "same length"),
        ({"words": ["a"]}, "same length"),
        ({"words": ["a"], "tags": ["NOMEN"]}, "f:1: field 'tags': unknown tag 'NOMEN'"),
    ],
)
def test_wrong_tags_are_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tagged_text(data, "f:1")


def test_climbs_source_orders_are_the_published_ones() -> None:
    spoken = [["aochildes"], ["bnc_spoken", "switchboard"], ["open_subtitles", "qed"], ["cbt", "children_stories"]]
    spoken += [["simple_wikipedia"], ["wikipedia", "gutenberg"]]
    grammatical = [["cbt", "children_stories"], ["simple_wikipedia"], ["wikipedia", "gutenberg"], ["open_subtitles"]]
    grammatical += [["bnc_spoken", "switchboard"], ["qed", "aochildes"]]
    for ranks, published in ((SPOKEN_FIRST, spoken), (GRAMMATICAL_FIRST, grammatical)):
        renamed = {name: ranks[old] for name, old in (("childes", "aochildes"), ("simple_wiki", "simple_wikipedia"))}
        assert {name: ranks[name] for name in renamed} == renamed
        of_2023 = {name: rank for name, rank in ranks.items() if name not in renamed}
        assert of_2023 == {name: rank for rank, names in enumerate(published, start=1) for name in names}


@pytest.mark.parametrize("ending", ["", ".train", ".train.txt", ".dev", ".train.jsonl", ".test.parquet"])
def test_parts_of_babylm_are_known_by_the_names_of_every_year(ending: str) -> None:
    names = tuple(name + ending for name in ("childes", "simple_wiki", "aochildes", "Open-Subtitles"))
    text = replace(TEXT, source_names=names, sources_X=np.arange(4))
    assert difficulties()["source-spoken-first"].score(text).tolist() == [1.0, 5.0, 1.0, 3.0]


def test_before_a_model_has_ranked_anything_climbs_random_perplexity_draws_from_everything() -> None:
    scores_X = difficulties()["all-alike"].score(TEXT)
    assert len(set(scores_X.tolist())) == 1
    budget = TrainingBudget(400, 8, 4)
    plan = chosen_curriculum("climb-random-perplexity-linear").plan(np.ones(2000), budget, np.random.default_rng(0))
    first = plan.indices_SB[:100]
    assert len(np.unique(first)) == pytest.approx(2000 * (1 - (1 - 1 / 2000) ** 800), rel=0.05)


def test_length_is_words_per_sentence_and_an_unfinished_sentence_counts() -> None:
    assert sentence_count("One. Two! Three? and") == 4
    assert sentence_count("... !") == 1
    assert sentence_count("A heading\n\nA sentence") == 2
    # "the cat sat . the cat sat .": six words in two sentences.
    assert difficulties()["length"].score(TEXT)[0] == 3.0
    assert words("Don't STOP d'or 3rd 'tis") == ["don't", "stop", "d'or", "rd", "tis"]


def test_rarity_is_the_surprise_of_all_words_by_their_shares_of_the_corpus() -> None:
    counts = Counter(word for row in (EASY, EASY, EASY, HARD) for word in [WORDS[one] for one in row] if word != ".")
    total = sum(counts.values())
    expected = -sum(math.log(counts[WORDS[one]] / total) for one in HARD if WORDS[one] != ".")
    assert difficulties()["rarity"].score(TEXT)[3] == pytest.approx(expected)


def test_compression_is_the_length_after_deflate_over_the_length_before() -> None:
    raw = " ".join(WORDS[one] for one in EASY).encode()
    assert difficulties()["compression"].score(TEXT)[0] == pytest.approx(len(zlib.compress(raw, 9)) / len(raw))
    # A long text tells level 9 from level 8.
    chance = random.Random(0)
    long = " ".join(chance.choice(["the", "cat", "sat", "on", "a", "mat", ".", "ran"]) for _ in range(6000)).encode()
    assert len(zlib.compress(long, 8)) != len(zlib.compress(long, 9))
    score = difficulties()["compression"].score(replace(TEXT, decode=lambda row_T: long.decode()))[0]
    assert score == pytest.approx(len(zlib.compress(long, 9)) / len(long), abs=1e-9)
    # Nothing at all is 8 bytes of DEFLATE: hard, and no division by zero.
    assert difficulties()["compression"].score(replace(TEXT, decode=lambda row_T: "")).tolist() == [8.0] * 4


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("strength", 1),
        ("the", 1),
        ("make", 1),
        ("free", 1),
        ("table", 2),
        ("idea", 2),
        ("syllable", 3),
        ("rhythm", 1),
        ("hmm", 1),
    ],
)
def test_syllables_are_groups_of_vowels_without_a_silent_e(word: str, count: int) -> None:
    assert syllables(word) == count


def test_readability_is_minus_fleschs_formula() -> None:
    # 6 words, 2 sentences, 6 syllables.
    expected = 206.835 - 1.015 * 6 / 2 - 84.6 * 6 / 6
    assert difficulties()["readability"].score(TEXT)[0] == pytest.approx(-expected)
    assert flesch_reading_ease("123 456") == 0.0


def by_definition(tokens_XT: list[list[int]], symbols: int) -> list[float]:
    """Interpolated trigram perplexities, counted one place after the other."""
    places = [(row, column) for row, tokens in enumerate(tokens_XT) for column in range(len(tokens))]

    def share(row: int, column: int, order: int) -> float:
        if column < order - 1:
            return 0.0
        context = tokens_XT[row][column - order + 1 : column]
        others = [
            tokens_XT[r][c]
            for r, c in places
            if (r, c) != (row, column) and c >= order - 1 and tokens_XT[r][c - order + 1 : c] == context
        ]
        return others.count(tokens_XT[row][column]) / len(others) if others else 0.0

    def chance(row: int, column: int) -> float:
        others = [tokens_XT[r][c] for r, c in places if (r, c) != (row, column)]
        first = (others.count(tokens_XT[row][column]) + 1) / (len(others) + symbols)
        return 0.1 * first + 0.3 * share(row, column, 2) + 0.6 * share(row, column, 3)

    return [
        math.exp(-sum(math.log(chance(row, column)) for column in range(len(tokens))) / len(tokens))
        for row, tokens in enumerate(tokens_XT)
    ]


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=6))
def test_trigram_perplexity_is_that_of_counting_place_by_place(rows: list[list[int]]) -> None:
    assert ngram_perplexity(np.array(rows), 4) == pytest.approx(by_definition(rows, 4))


def test_perplexity_of_tags_counts_a_missing_tag_as_one_more() -> None:
    tags = [[5, 0, 1, -1], [5, 0, -1, 1], [5, 2, 1, 0]]
    text = text_of([[0] * 4] * 3, tags=tags)
    shifted = [[tag + 1 for tag in row] for row in tags]
    assert difficulties()["pos-perplexity"].score(text) == pytest.approx(by_definition(shifted, 7))


def test_the_tokens_of_the_whole_vocabulary_count_as_symbols() -> None:
    rows = [EASY, HARD]
    assert difficulties()["ngram-perplexity"].score(text_of(rows)) == pytest.approx(by_definition(rows, len(WORDS)))


def test_random_difficulties_are_the_same_every_time_and_lie_evenly_between_0_and_1() -> None:
    scores_X = difficulties()["random"].score(text_of([EASY] * 400))
    assert np.array_equal(scores_X, difficulties()["random"].score(text_of([EASY] * 400)))
    assert stats.kstest(scores_X, "uniform").pvalue > 0.01


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_scores_that_were_damaged_in_the_cache_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = scored(difficulties()["length"], TEXT, "data").scores_X
    (file,) = (tmp_path / "e2lm" / "difficulty").glob(f"*{suffix}")
    file.write_bytes(file.read_bytes()[:5])
    assert scored(difficulties()["length"], TEXT, "data").scores_X.tolist() == before.tolist()
