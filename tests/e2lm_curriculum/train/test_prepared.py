"""What is made of a corpus once per run: shares of every file, notes, words, and arrays that were damaged since."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm import UserError
from e2lm import words as module
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.corpus.split import MOST
from e2lm_curriculum.plan.file import read_plan
from e2lm_curriculum.train.batch import example_blocks
from e2lm_curriculum.train.ladder import prepare_once, require_trainable
from e2lm_curriculum.train.prepared import prepare
from tests.e2lm_curriculum.conftest import minuscule_settings

#: Files of one language, one utterance or article a line: length of a line, lines.
FILES = {"childes.train": (20, 1500), "gutenberg.train": (160, 1200), "switchboard.train": (40, 900)}


@pytest.fixture
def line_files(tmp_path: Path) -> list[str]:
    """Text without a blank line, as BabyLM writes it."""
    rng = np.random.default_rng(0)
    for name, (width, count) in FILES.items():
        lines = ["".join(rng.choice(list("etaoin shr"), width)).strip() + f" {number}" for number in range(count)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [str(tmp_path / name) for name in FILES]


def config_of(files: list[str], out: Path, **changes: object) -> TrainingConfig:
    settings = minuscule_settings(Path(files[0]), out) | {"corpus": tuple(files), **changes}
    return TrainingConfig.from_data(settings, "test")


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_of_files_without_blank_lines_each_gives_its_share(line_files: list[str], tmp_path: Path, seed: int) -> None:
    prepared = prepare(config_of(line_files, tmp_path / f"out{seed}", seed=seed))
    assert [one.file for one in prepared.held_out_shares] == list(FILES)
    assert all(0.1 <= one.share <= 0.1 * MOST for one in prepared.held_out_shares)
    held = (tmp_path / f"out{seed}" / "held_out.txt").read_text(encoding="utf-8")
    lines = [set(Path(file).read_text(encoding="utf-8").split("\n")) for file in line_files]
    assert all(set(held.split("\n")) & of_file for of_file in lines)
    whole = sum(len(Path(file).read_text(encoding="utf-8")) for file in line_files)
    assert prepared.training_characters + prepared.held_out_characters == pytest.approx(whole, rel=0.01)


def test_one_such_file_alone_is_enough(line_files: list[str], tmp_path: Path) -> None:
    (share,) = prepare(config_of(line_files[:1], tmp_path / "out")).held_out_shares
    assert 0.1 <= share.share <= 0.1 * MOST


def test_marks_inside_of_lines_are_text_and_told(line_files: list[str], tmp_path: Path) -> None:
    assert prepare(config_of(line_files, tmp_path / "plain")).notes == ()
    file = tmp_path / "joined.txt"
    text = Path(line_files[1]).read_text(encoding="utf-8").replace("\n", "<|endoftext|>", 3)
    file.write_text(text, encoding="utf-8")
    (told,) = prepare(config_of([str(file)], tmp_path / "out")).notes
    assert told.startswith("<|endoftext|> stands 3 times inside a line or record")
    tokens_K = np.load(tmp_path / "out" / ".prepared" / "tokens.npy")
    plain_K = np.load(tmp_path / "plain" / ".prepared" / "tokens.npy")
    assert (tokens_K == 0).sum() <= (plain_K == 0).sum()  # only where documents begin


def test_a_grid_of_words_wants_words_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "japanese_segmenter", lambda: None)
    file = tmp_path / "ja.txt"
    file.write_text("\n".join(f"猫は魚が好きだ。犬は{number}匹いる。" for number in range(500)), encoding="utf-8")
    config = config_of([str(file)], tmp_path / "out", checkpoint_grid="babylm", word_unit=100)
    with pytest.raises(UserError, match=r"'checkpoint_grid'.*Japanese.*e2lm\[ja\]"):
        require_trainable(config)
    assert not (tmp_path / "out").exists()
    assert prepare(config.changed(checkpoint_grid="log")).training_words is None


@pytest.mark.parametrize("name", ["tokens.npy", "plan.npy", "plan.json"])
def test_an_array_that_was_damaged_is_named(line_files: list[str], tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    prepare(config_of(line_files[:1], out))
    os.truncate(out / ".prepared" / name, 60)
    with pytest.raises(UserError, match=rf"{name}: gone or damaged"):
        example_blocks(out, 32) if name == "tokens.npy" else read_plan(out / ".prepared")


SOURCES = {"web": (3.0, "etaoin"), "books": (1.0, "shrdlu")}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Documents of two sources in turn, of other letters and scores each."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(400):
        name = "web" if number % 4 else "books"
        score, letters = SOURCES[name]
        words = ["".join(rng.choice(list(letters), 4)) for _ in range(60)]
        rows.append({"text": " ".join(words), "where": name, "quality": score})
    file = tmp_path_factory.mktemp("records") / "mixed.json"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(file)


def letters_of(out: Path, indices: NDArray[np.integer[Any]]) -> list[str]:
    """The source of each example by its letters."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / ".prepared" / "tokenizer.json"))
    texts = [tokenizer.decode(row.tolist()) for row in example_blocks(out, 32)]
    found = ["web" if sum(map(text.count, "etaoin")) > sum(map(text.count, "shrdlu")) else "books" for text in texts]
    return [found[index] for index in indices.reshape(-1)]


def test_sources_of_records_are_held_out_and_mixed_like_files(records: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mixture = {"mixture": [{"start": 0.0, "weights": {"web": 1, "books": 3}}]}
    config = config_of([records], out, source_field="where", tokens=100 * 4 * 32, curriculum=mixture)
    prepared = prepare(config)
    assert [one.file for one in prepared.held_out_shares] == ["books", "web"]
    assert all(0.1 <= one.share <= 0.1 * MOST for one in prepared.held_out_shares)
    shown = letters_of(out, read_plan(out / ".prepared").indices_SB)
    assert shown.count("books") / len(shown) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("weights", [{"web": 1.0, "book": 3.0}, {"web": 1.0}])
def test_weights_by_name_are_of_all_sources_and_of_no_other(
    records: str, tmp_path: Path, weights: dict[str, float]
) -> None:
    mixture = {"mixture": [{"start": 0.0, "weights": weights}]}
    with pytest.raises(UserError, match=r"curriculum\.mixture.*books"):
        prepare(config_of([records], tmp_path / "out", source_field="where", curriculum=mixture))


@pytest.mark.parametrize(("name", "first"), [("document-score", "books"), ("document-score-highest-first", "web")])
def test_scores_of_records_order_what_is_shown(records: str, tmp_path: Path, name: str, first: str) -> None:
    out = tmp_path / "out"
    staged = {"difficulty": name, "mode": "full-coverage"}
    config = config_of([records], out, score_field="quality", curriculum=staged)
    assert prepare(config).difficulty == name
    scores_X = np.load(out / ".prepared" / "scores.npy")
    expected = np.array([SOURCES[one][0] for one in letters_of(out, np.arange(len(scores_X)))])
    assert np.corrcoef(np.abs(scores_X), expected)[0, 1] > 0.9
    shown = letters_of(out, read_plan(out / ".prepared").indices_SB)
    assert shown[: len(shown) // 10].count(first) > 0.8 * (len(shown) // 10)


def test_a_difficulty_by_scores_wants_records_with_scores(line_files: list[str], records: str, tmp_path: Path) -> None:
    scored = {"difficulty": "document-score", "mode": "pool"}
    with pytest.raises(UserError, match="score_field"):
        prepare(config_of([records], tmp_path / "none", curriculum=scored))
    with pytest.raises(UserError, match=r"childes\.train: plain text has no field 'q'"):
        prepare(config_of(line_files[:1], tmp_path / "plain", curriculum=scored, score_field="q"))


@pytest.mark.parametrize("name", [".prepared/tokenizer.json", ".prepared/tokenizer_config.json", "held_out.txt"])
def test_a_tokenizer_or_held_out_text_that_was_damaged_is_named_before_anything_goes_on(
    line_files: list[str], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    config = config_of(line_files[:1], out)
    prepare_once(config)
    prepare_once(config)
    os.truncate(out / name, 200)
    with pytest.raises(UserError, match=rf"{Path(name).name}: gone, or not what was written"):
        prepare_once(config)
