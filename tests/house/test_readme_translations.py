"""What is in Japanese says what the English says: the same headings, commands, numbers and links in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


#: English pages and their translations; the page for those who sign (docs/ja/decide.md) is one of its own.
PAIRS = {
    "README.md": "README.ja.md",
    **{f"docs/{name}.md": f"docs/ja/{name}.md" for name in ("index", "questions", "tutorial")},
}


@pytest.fixture(scope="module", params=sorted(PAIRS))
def pair(request: pytest.FixtureRequest, repository: Path) -> tuple[str, str]:
    english, japanese = (repository / name for name in (request.param, PAIRS[request.param]))
    return english.read_text(encoding="utf-8"), japanese.read_text(encoding="utf-8")


def linked(text: str) -> set[str]:
    """Pages and places that are linked, whatever the folder and the language."""
    found = {re.sub(r"^(\.\./|docs/(ja/)?|ja/)+", "", target) for target in LINK.findall(text)}
    return {re.sub(r"(index\.md)#.*", r"\1", one) for one in found} - {"README.md", "README.ja.md", "decide.md"}


def outline(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE)]


def test_the_same_headings_stand_in_the_same_order(pair: tuple[str, str]) -> None:
    english, japanese = map(outline, pair)
    assert english == japanese
    assert len(english) >= 3


def test_the_same_blocks_of_code_stand_in_the_same_order(pair: tuple[str, str]) -> None:
    english, japanese = (FENCE.findall(text) for text in pair)
    assert english == japanese


def test_the_same_commands_and_names_are_mentioned(pair: tuple[str, str]) -> None:
    english, japanese = (sorted(re.findall(r"`[^`\n]+`|<code>.*?</code>", FENCE.sub("", text))) for text in pair)
    assert english == japanese


def test_the_same_pages_are_linked(pair: tuple[str, str]) -> None:
    english, japanese = map(linked, pair)
    assert english == japanese


def test_the_same_numbers_are_reported(pair: tuple[str, str]) -> None:
    english, japanese = (set(re.findall(r"\d+\.\d+", FENCE.sub("", text))) for text in pair)
    assert english - japanese == set()
