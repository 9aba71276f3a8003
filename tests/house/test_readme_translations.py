"""README.ja.md says what README.md says: the same headings, commands, numbers and links in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def pair(repository: Path) -> tuple[str, str]:
    english, japanese = (repository / name for name in ("README.md", "README.ja.md"))
    return english.read_text(encoding="utf-8"), japanese.read_text(encoding="utf-8")


def outline(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE)]


def test_the_same_headings_stand_in_the_same_order(pair: tuple[str, str]) -> None:
    english, japanese = map(outline, pair)
    assert english == japanese
    assert len(english) > 8


def test_the_same_blocks_of_code_stand_in_the_same_order(pair: tuple[str, str]) -> None:
    english, japanese = (FENCE.findall(text) for text in pair)
    assert english == japanese


def test_the_same_commands_and_names_are_mentioned(pair: tuple[str, str]) -> None:
    english, japanese = (sorted(re.findall(r"`[^`\n]+`|<code>.*?</code>", FENCE.sub("", text))) for text in pair)
    assert english == japanese


def test_the_same_pages_are_linked(pair: tuple[str, str]) -> None:
    english, japanese = (set(LINK.findall(text)) - {"README.md", "README.ja.md"} for text in pair)
    assert english == japanese


def test_the_same_numbers_are_reported(pair: tuple[str, str]) -> None:
    english, japanese = (set(re.findall(r"\d+\.\d+", FENCE.sub("", text))) for text in pair)
    assert english - japanese == set()
