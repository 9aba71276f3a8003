from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_curriculum.corpus.reader import Passage
from e2lm_curriculum.corpus.split import MOST, CorpusSplit, chosen_keys, split_corpus

texts = st.lists(st.text("abcdef ", min_size=1, max_size=30), min_size=5, max_size=60)


def split_of(passages: Sequence[Passage], held_out: float = 0.1, seed: int = 0, files: int = 1) -> CorpusSplit:
    return split_corpus(lambda: iter(passages), [f"file{number}" for number in range(files)], held_out, seed)


@given(texts, st.floats(0.05, 0.4), st.integers(0, 1000))
def test_no_text_is_on_both_sides_none_is_lost_and_the_share_is_kept(
    parts: list[str], fraction: float, seed: int
) -> None:
    try:
        split = split_of([Passage(text) for text in parts], fraction, seed)
    except UserError:
        return
    training, held_out = ([one.text for one in side] for side in (split.training(), split.held_out()))
    assert not set(training) & set(held_out)
    assert sorted([*training, *held_out]) == sorted(parts)
    share = sum(map(len, held_out)) / sum(map(len, parts))
    assert fraction / MOST <= share * (1 + 1e-9) <= fraction * MOST * (1 + 2e-9)
    assert split.shares[0].share == pytest.approx(share)


def test_the_split_does_not_depend_on_the_order_of_documents(documents: list[str]) -> None:
    forwards = set(split_of([Passage(text) for text in documents]).held_out())
    assert forwards == set(split_of([Passage(text) for text in reversed(documents)]).held_out())
    assert forwards != set(split_of([Passage(text) for text in documents], seed=1).held_out())


def test_every_file_gives_its_share_whatever_the_seed() -> None:
    sizes = (2000, 300, 50)
    passages = [
        Passage(f"{file} {number} " + "x" * size, file=file) for file, size in enumerate(sizes) for number in range(40)
    ]
    for seed in range(5):
        split = split_of(passages, seed=seed, files=3)
        assert all(0.1 / MOST <= one.share <= 0.1 * MOST for one in split.shares)


def test_files_too_short_for_a_share_of_their_own_give_one_together() -> None:
    passages = [Passage(f"document {number:03}", file=number) for number in range(50)]
    split = split_of(passages, files=50)
    assert sum(one.share == 1.0 for one in split.shares) == 5
    assert sum(one.share == 0.0 for one in split.shares) == 45


def test_a_text_of_two_files_is_held_out_in_both_and_a_page_after_it_begins_a_document() -> None:
    pages = [Passage(f"page {number:02} " * 9, joint="\n" if number else "") for number in range(30)]
    split = split_of([*pages, *(Passage(page.text, file=1) for page in pages)], files=2)
    first, second = ([one.text for one in split.held_out() if one.file == file] for file in (0, 1))
    assert first == second
    training = [one for one in split.training() if one.file == 0]
    for page, held in zip(pages[1:], [one.text in first for one in pages], strict=False):
        if page.text not in first:
            assert next(one for one in training if one.text == page.text).follows is not held


@pytest.mark.parametrize("passages", [["all there is"], ["a" * 100, "b" * 100, "c" * 120]])
def test_documents_that_are_too_long_for_the_share_are_refused(passages: list[str]) -> None:
    with pytest.raises(UserError, match=r"field 'held_out': 0\.1 of file0 cannot be held out in whole documents"):
        split_of([Passage(text) for text in passages])
    assert list(split_of([Passage(text) for text in passages], held_out=0.0).held_out()) == []


def test_a_text_that_stands_everywhere_is_not_held_out_by_accident() -> None:
    copies = [Passage("the same", file=file) for file in range(2) for _ in range(5)]
    passages = [*copies, *(Passage(f"page {number}", file=number % 2) for number in range(30))]
    split = split_of(passages, files=2)
    assert all(one.share <= 0.2 for one in split.shares)
    keys = chosen_keys(np.array([1, 2, 3], np.uint64), np.array([60, 10, 30]), 0.1)
    assert keys is not None
    assert keys.tolist() == [2]


def test_a_corpus_that_changes_while_it_is_read_is_told() -> None:
    passages = [Passage(f"page {number}") for number in range(40)]
    split = split_of(passages)
    passages.pop()
    with pytest.raises(UserError, match="changed while it was read"):
        list(split.training())
