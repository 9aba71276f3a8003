from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_curriculum.corpus.reader import PASSAGE_CHARACTERS, Passage, read_passages, split_corpus

texts = st.lists(st.text("abcdef ", min_size=1, max_size=30), min_size=5, max_size=60)


@given(texts, st.floats(0.05, 0.4), st.integers(0, 1000))
def test_no_text_is_on_both_sides_and_none_is_lost(parts: list[str], fraction: float, seed: int) -> None:
    passages = [Passage(text) for text in parts]
    if len(set(parts)) < 5:
        return
    try:
        split = split_corpus(passages, fraction, seed)
    except UserError:
        return
    assert not set(split.training) & set(split.held_out)
    assert sorted([*split.training, *split.held_out]) == sorted(parts)
    assert sum(map(len, split.held_out)) >= fraction * sum(map(len, parts))


def test_the_split_does_not_depend_on_the_order_of_documents(documents: list[str]) -> None:
    forwards = split_corpus([Passage(text) for text in documents], 0.1, 0)
    backwards = split_corpus([Passage(text) for text in reversed(documents)], 0.1, 0)
    other = split_corpus([Passage(text) for text in documents], 0.1, 1)
    assert set(forwards.held_out) == set(backwards.held_out)
    assert set(forwards.held_out) != set(other.held_out)


def test_a_file_without_marks_is_cut_at_paragraphs_and_joined_where_nothing_is_held_out(tmp_path: Path) -> None:
    paragraphs = [f"paragraph {number} " + "word " * 100 for number in range(100)]
    file = tmp_path / "book.txt"
    file.write_text("\n\n".join(paragraphs), encoding="utf-8")
    passages = read_passages([file])
    assert all(len(passage.text) >= PASSAGE_CHARACTERS for passage in passages[:-1])
    assert [passage.follows for passage in passages] == [False] + [True] * (len(passages) - 1)
    split = split_corpus(passages, 0.2, 0)
    for document in split.training:
        assert document in "\n\n".join(paragraphs)
    for passage in split.held_out:
        assert not any(passage in document for document in split.training)
    assert len(split.training) <= len(split.held_out) + 1


def test_json_lines_hold_one_document_each(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in ("one\n\ntwo", "three")) + "\n", encoding="utf-8")
    assert [passage.text for passage in read_passages([file])] == ["one\n\ntwo", "three"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', r"a\.jsonl:2: .*'text'"),
        ("a.jsonl", b'{"text": 3}\n', r"a\.jsonl:1: .*expected a string"),
        ("a.txt", b"abc\xff", "not UTF-8 at byte 3"),
        ("a.txt", b" \n ", "no text in it"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_passages([file])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: no such file"):
        read_passages([tmp_path / "none.txt"])


def test_holding_out_everything_is_an_error() -> None:
    with pytest.raises(UserError, match="field 'held_out'"):
        split_corpus([Passage("all there is")], 0.1, 0)
