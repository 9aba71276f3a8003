from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from e2lm import UserError
from e2lm.words import WORD
from e2lm_tasks.building.families import EARLY
from e2lm_tasks.building.item import MAX_ITEM_BYTES
from e2lm_tasks.building.prose import CorpusText, WordFrequency, prose_of
from e2lm_tasks.building.text_suite import Suite, build_suite

Rows = dict[str, list[dict[str, Any]]]
KINDS = [kind.name for kind in EARLY.kinds]
ITEMS = 120
FOUR_STANDARD_ERRORS = 4 * (0.25 * 0.75 / ITEMS) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_item_has_four_different_choices_and_fits(rows_of: Rows, kind: str) -> None:
    assert len(rows_of[kind]) == ITEMS
    for row in rows_of[kind]:
        assert len(set(row["choices"])) == 4
        longest = max(len(choice.encode()) for choice in row["choices"])
        assert len(row["context"].encode()) + 1 + longest <= MAX_ITEM_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_the_true_choice_is_at_every_position_equally_often(rows_of: Rows, kind: str) -> None:
    assert Counter(row["gold"] for row in rows_of[kind]) == dict.fromkeys(range(4), ITEMS // 4)


@pytest.mark.parametrize("kind", ["continuation", "cloze"])
def test_no_choice_occurs_in_the_prompt(rows_of: Rows, kind: str) -> None:
    for row in rows_of[kind]:
        for choice in row["choices"]:
            assert choice.rstrip(".!?").casefold() not in row["context"].casefold()


@pytest.mark.parametrize("kind", ["shuffled", "swapped"])
def test_word_order_items_hold_the_same_words_and_marks_without_context(rows_of: Rows, kind: str) -> None:
    for row in rows_of[kind]:
        assert row["context"] == ""
        words = {tuple(sorted(WORD.findall(choice))) for choice in row["choices"]}
        frames = {(choice.split()[0], choice.split()[-1], len(choice)) for choice in row["choices"]}
        assert len(words) == len(frames) == 1
        for choice in row["choices"]:
            if choice != row["choices"][row["gold"]]:
                folded = choice.casefold().split()
                assert all(word != follower for word, follower in pairwise(folded))


def test_swapped_choices_all_differ_from_the_others_in_the_same_way(rows_of: Rows) -> None:
    def distances(index: int, choices: list[list[str]]) -> list[int]:
        apart = [sum(a != b for a, b in zip(choices[index], other, strict=True)) for other in choices]
        return sorted(apart)

    for row in rows_of["swapped"]:
        choices = [choice.split() for choice in row["choices"]]
        assert {tuple(distances(index, choices)) for index in range(4)} == {(0, 2, 2, 4)}


def test_copied_words_stand_once_in_the_prompt_and_the_answer_follows_its_key(rows_of: Rows) -> None:
    for row in rows_of["copying"]:
        context, answer = row["context"], row["choices"][row["gold"]]
        assert all(context.count(choice) == 1 for choice in row["choices"])
        key = context.rpartition("The list: ")[2]
        assert f"{key} {answer}" in context


def test_cloze_words_are_alike_in_frequency_and_length(rows_of: Rows, documentation: CorpusText) -> None:
    counts = WordFrequency.of(prose_of([documentation.text])).counts
    for row in rows_of["cloze"]:
        words = [choice[:-1] for choice in row["choices"]]
        frequencies = [counts[word] for word in words]
        assert max(frequencies) <= 2 * min(frequencies)
        assert max(map(len, words)) - min(map(len, words)) <= 2
        assert len({word[:4] for word in words}) == 4


def test_continuations_are_alike_in_length(rows_of: Rows) -> None:
    for row in rows_of["continuation"]:
        lengths = [len(choice) for choice in row["choices"]]
        assert max(lengths) - min(lengths) < 10


def test_true_choices_are_text_of_the_source(rows_of: Rows, documentation: CorpusText) -> None:
    source = " ".join(documentation.text.replace("*", "").split())
    for kind in ("continuation", "cloze"):
        for row in rows_of[kind]:
            last_sentence = f"{row['context']} {row['choices'][row['gold']]}"[-60:]
            assert last_sentence in source


def test_held_out_passages_share_no_sentence(rows_of: Rows) -> None:
    passages = [row["text"] for row in rows_of["heldout"]]
    assert len(passages) == ITEMS
    assert all(120 <= len(passage.encode()) <= MAX_ITEM_BYTES for passage in passages)
    heads = [passage[:60] for passage in passages]
    assert len(set(heads)) == ITEMS


def test_trivial_baselines_are_near_chance(suite: Suite) -> None:
    for task in suite.card["tasks"].values():
        if task["chance"] is None:
            continue
        assert task["chance"] == 0.25
        assert set(task["baselines"]) >= {"constant_choice", "longest_choice", "shortest_choice", "unigram_logprob"}
        for baseline in task["baselines"].values():
            assert abs(baseline["value"] - 0.25) < FOUR_STANDARD_ERRORS


def test_order_of_words_is_all_that_tells_in_word_order_tasks(suite: Suite) -> None:
    for kind in ("shuffled", "swapped"):
        for baseline in suite.card["tasks"][f"probe_{kind}"]["baselines"].values():
            assert baseline["value"] == 0.25


def test_same_text_and_seed_give_the_same_bytes(documentation: CorpusText, suite: Suite) -> None:
    assert build_suite([documentation], seed=7, items=ITEMS, name="probe").files == suite.files


def test_another_seed_gives_other_items(documentation: CorpusText, suite: Suite) -> None:
    other = build_suite([documentation], seed=8, items=ITEMS, name="probe")
    assert all(other.files[f"{kind}.jsonl"] != suite.files[f"{kind}.jsonl"] for kind in [*KINDS, "heldout"])


def test_card_names_sources_without_their_folders(suite: Suite, documentation: CorpusText) -> None:
    card = json.loads(suite.files["card.json"])
    assert card["sources"] == [
        {"file": "documentation.txt", "bytes": documentation.size_bytes, "sha256": documentation.sha256}
    ]
    assert card["seed"] == 7
    assert card["files"] == sorted(suite.files)
    assert [name for name, task in card["tasks"].items() if task.get("answer_in_prompt")] == ["probe_copying"]


@pytest.mark.parametrize("items", [-1, 0, 99, 15_001])
def test_numbers_of_items_out_of_bounds_are_refused(documentation: CorpusText, items: int) -> None:
    with pytest.raises(UserError, match=f"--items: found {items}; allowed are 100 to 15000"):
        build_suite([documentation], seed=0, items=items, name="probe")


def test_a_negative_seed_is_refused(documentation: CorpusText) -> None:
    with pytest.raises(UserError, match="--seed"):
        build_suite([documentation], seed=-1, items=100, name="probe")


def test_too_little_text_says_how_much_is_needed(documentation: CorpusText) -> None:
    with pytest.raises(UserError, match=r"can be made from the [\d,]+ characters given, 15000 are wanted; about"):
        build_suite([documentation], seed=0, items=15_000, name="probe")


def test_text_without_sentences_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"code\.txt: no text is left"):
        build_suite([CorpusText.of("code.txt", "x = 1\n" * 1000)], seed=0, items=100, name="probe")


def test_one_sentence_is_refused_without_a_number() -> None:
    text = CorpusText.of("one.txt", "The only sentence in here is this one.")
    with pytest.raises(UserError, match="needs whole sentences"):
        build_suite([text], seed=0, items=100, name="probe")
