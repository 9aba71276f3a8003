"""The demo's season: who is to be beaten, where early ends, and what the control model is trained on."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from e2lm.errors import UserError
from e2lm_leaderboard.cli import demo as demo_series
from e2lm_leaderboard.cli.demo import CHECKPOINT_TOKENS, TOKENS, demo_season, shuffled_words


def test_the_season_has_a_control_series_early_late_and_hidden_checkpoints(tmp_path: Path) -> None:
    season = demo_season("Box", tmp_path)
    assert season.roles.is_control("shuffled-360k")
    assert not season.roles.is_control("360k")
    tokens = np.arange(0, TOKENS + 1, CHECKPOINT_TOKENS)
    assert season.roles.early_tokens is not None
    assert season.public_tokens is not None
    assert int((tokens <= season.roles.early_tokens).sum()) == 9
    assert int(((tokens > season.roles.early_tokens) & (tokens <= season.public_tokens)).sum()) == 3
    assert int((tokens > season.public_tokens).sum()) == 1


def test_shuffled_words_are_the_same_words_in_another_order_within_their_paragraph(tmp_path: Path) -> None:
    paragraphs = [" ".join(f"{word}{k}" for word in "abcdefghij") for k in range(3)]
    for k, paragraph in enumerate(paragraphs):
        (tmp_path / f"{k}.txt").write_text(paragraph + "\n", encoding="utf-8")
    files = [tmp_path / f"{k}.txt" for k in range(3)]
    shuffled = shuffled_words(files, random.Random(0)).strip().split("\n\n")
    assert [sorted(one.split()) for one in shuffled] == [sorted(one.split()) for one in paragraphs]
    assert shuffled != paragraphs
    assert shuffled_words(files, random.Random(0)) == shuffled_words(files, random.Random(0))


def test_the_corpus_is_found_from_another_folder_and_a_lost_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of a finished 'e2lm demo'"):
        demo_series._corpus(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "corpus").mkdir()
    record = {"config": {"corpus": ["elsewhere/corpus/a.txt"]}}
    (tmp_path / "runs" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"the corpus file a\.txt is gone"):
        demo_series._corpus(tmp_path)
    (tmp_path / "corpus" / "a.txt").write_text("words", encoding="utf-8")
    assert demo_series._corpus(tmp_path) == [tmp_path / "corpus" / "a.txt"]


def test_models_are_trained_on_the_clean_recipe_which_holds_nothing_that_the_tasks_ask_about(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "clean.txt").write_text("words", encoding="utf-8")
    assert demo_series._corpus(tmp_path) == [tmp_path / "recipes" / "clean.txt"]
