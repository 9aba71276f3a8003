from __future__ import annotations

import random

import pytest

from e2lm.errors import UserError
from e2lm_demo.recipes import RECIPES, out_of_order, write_recipes

SENTENCES = [f"The number {k} is one more than {k - 1} and the next of it is {k + 1}." for k in range(400)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(SENTENCES) + "\n", encoding="utf-8")
    return path


def test_every_recipe_has_the_same_words_of_the_same_paragraphs_and_none_that_is_held_out(corpus, tmp_path):
    found = write_recipes([corpus], tmp_path / "recipes", 10_000, 0)
    held_out = found.held_out.read_text(encoding="utf-8").strip().split("\n\n")
    texts = {name: path.read_text(encoding="utf-8").strip().split("\n\n") for name, path in found.text.items()}
    assert list(texts) == [recipe.name for recipe in RECIPES]
    assert not set(texts["clean"]) & set(held_out)
    assert set(texts["clean"]) | set(held_out) == set(SENTENCES)
    assert 20 < len(held_out) < 60
    sorted_words = [[sorted(paragraph.split()) for paragraph in text] for text in texts.values()]
    assert sorted_words[0] == sorted_words[1] == sorted_words[2]

    def moved(name):
        pairs = zip(texts["clean"], texts[name], strict=True)
        places = [one != two for first, second in pairs for one, two in zip(first.split(), second.split(), strict=True)]
        return sum(places) / len(places)

    assert 0.15 < moved("third") < 0.34 < moved("two-thirds") < 0.67


def test_a_budget_takes_as_much_text_as_it_needs_and_another_seed_holds_out_other_text(corpus, tmp_path):
    whole, little, other = (
        write_recipes([corpus], tmp_path / name, tokens, seed)
        for name, tokens, seed in (("a", 10_000, 0), ("b", 1_000, 0), ("c", 10_000, 1))
    )
    assert little.text["clean"].stat().st_size == pytest.approx(5_000, rel=0.2)
    assert set(little.text["clean"].read_text().split("\n")) < set(whole.text["clean"].read_text().split("\n"))
    assert whole.held_out.read_text() == little.held_out.read_text() != other.held_out.read_text()


def test_recipes_that_are_there_are_not_written_again(corpus, tmp_path):
    found = write_recipes([corpus], tmp_path / "recipes", 10_000, 0)
    before = {path: path.stat().st_mtime_ns for path in found.text.values()}
    again = write_recipes([corpus], tmp_path / "recipes", 10_000, 0)
    assert before == {path: path.stat().st_mtime_ns for path in again.text.values()}


def test_text_without_blanks_is_put_out_of_order_letter_by_letter():
    text = "日本語の文章には空白がありません。" * 3
    changed = out_of_order(text, 2 / 3, random.Random(0))
    assert sorted(changed) == sorted(text)
    assert sum(one != two for one, two in zip(text, changed, strict=True)) > len(text) / 3


def test_text_that_is_too_short_or_no_text_is_one_line(tmp_path):
    (tmp_path / "short.txt").write_text("one line\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"short\.txt: 1 paragraphs; give at least 200"):
        write_recipes([tmp_path / "short.txt"], tmp_path / "recipes", 1_000, 0)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.txt: byte 0 is no UTF-8"):
        write_recipes([tmp_path / "bytes.txt"], tmp_path / "recipes", 1_000, 0)
    assert not (tmp_path / "recipes").exists()
