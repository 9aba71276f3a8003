"""BLiMP and Zorro are read as their authors publish them, ties are shared, and baselines stand beside the scores."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lm_eval import evaluator
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from e2lm import UserError
from e2lm_tasks.minimal_pair import pair_accuracy, rows, word_frequency
from e2lm_tasks.minimal_pair_files import MinimalPair, read_pairs
from tests.e2lm_tasks.suite_data import blimp_lines, write_pair_data

SUITES = Path(__file__).parents[2] / "e2lm_tasks" / "minimal_pairs"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_pair_data(tmp_path)
    monkeypatch.setenv("E2LM_DATA", str(tmp_path))
    monkeypatch.delenv("E2LM_FREQUENCY_TEXT", raising=False)
    return tmp_path


class Constant(LM):
    """Finds every text equally likely, or shorter ones likelier."""

    def __init__(self, per_character: float = 0.0) -> None:
        super().__init__()
        self._per_character = per_character

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return [(-1.0 - self._per_character * len(request.args[1]), False) for request in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list[Any]) -> list[str]:
        raise NotImplementedError


def scores(task: str, model: LM) -> dict[str, float]:
    manager = TaskManager(include_path=str(SUITES), include_defaults=False)
    found = evaluator.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0)
    assert found is not None
    return {key.removesuffix(",none"): value for key, value in found["results"][task].items() if key.endswith(",none")}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("task", ["e2lm_blimp", "e2lm_blimp_babylm", "e2lm_zorro"])
def test_a_model_that_cannot_tell_sentences_apart_gets_one_half(task: str) -> None:
    found = scores(task, Constant())
    assert found["acc_ties"] == 0.5
    assert found["acc_constant"] == 0.5
    assert 0.0 <= found["acc_unigram"] <= 1.0


@pytest.mark.usefixtures("data")
def test_every_phenomenon_has_an_accuracy_of_its_own() -> None:
    found = scores("e2lm_blimp", Constant(per_character=1.0))
    # Shorter is right in all three pairs on agreement, and no pair on order has a shorter one.
    assert found["acc_ties.agreement"] == 1.0
    assert found["acc_ties.order"] == 0.5
    assert found["acc_ties"] == pytest.approx(0.8)


@pytest.mark.usefixtures("data")
def test_word_frequency_cannot_tell_permutations_apart() -> None:
    pairs = read_pairs("blimp", None, "test")
    of_order = [row["unigram"] for row in rows(pairs, word_frequency(pairs, "test")) if row["phenomenon"] == "order"]
    assert of_order == [0.5, 0.5]


def test_the_word_counts_of_a_given_text_are_used(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = data / "text.txt"
    text.write_text("sing sing sing run run bark bark the birds", encoding="utf-8")
    monkeypatch.setenv("E2LM_FREQUENCY_TEXT", str(text))
    pairs = read_pairs("blimp", None, "test")
    of_agreement = [r["unigram"] for r in rows(pairs, word_frequency(pairs, "test")) if r["phenomenon"] == "agreement"]
    assert of_agreement == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("data")
def test_the_filtered_part_holds_the_listed_pairs_only() -> None:
    kept = {(pair.paradigm, pair.number) for pair in read_pairs("blimp-babylm", None, "test")}
    assert kept == {("birds_sing", 0), ("birds_sing", 2), ("word_order", 1)}


@pytest.mark.usefixtures("data")
def test_even_lines_of_zorro_are_the_grammatical_ones() -> None:
    pairs = {(pair.paradigm, pair.number): pair for pair in read_pairs("zorro", None, "test")}
    assert pairs["agreement-neighbours", 0].good == "this dog ran ."
    assert pairs["filler-gap-object", 0].phenomenon == "filler-gap"


def test_the_archive_that_blimp_ships_is_read_as_it_is(data: Path) -> None:
    before = read_pairs("blimp", None, "test")
    with zipfile.ZipFile(data / "blimp" / "BLiMP.zip", "w") as archive:
        for file in sorted((data / "blimp").glob("*_s*.jsonl")):
            if file.name != "models_summary.jsonl":
                archive.write(file, f"data/{file.name}")
        archive.writestr("data/word_order.jsonl", blimp_lines("word_order"))
    for file in (data / "blimp").glob("*.jsonl"):
        file.unlink()
    assert sorted(read_pairs("blimp", None, "test"), key=str) == sorted(before, key=str)


@pytest.mark.usefixtures("data")
def test_the_first_rows_are_a_balanced_sample_and_the_right_one_is_first_in_half_of_them() -> None:
    pairs = [MinimalPair(f"p{paradigm}", "all", number, "good", "bad") for paradigm in range(6) for number in range(20)]
    found = rows(pairs, word_frequency(pairs, "test"))
    assert Counter(row["paradigm"] for row in found[:30]) == {f"p{paradigm}": 5 for paradigm in range(6)}
    assert sum(row["gold"] for row in found) == 60
    assert all(row["choices"][row["gold"]] == "good" for row in found)


def test_sums_that_differ_by_rounding_are_ties() -> None:
    assert pair_accuracy([-50.0, -50.00001], 1) == 0.5
    assert pair_accuracy([-50.0, -50.01], 1) == 0.0


def test_missing_data_are_one_line_that_says_where_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("E2LM_DATA", raising=False)
    with pytest.raises(UserError, match=r"set E2LM_DATA to a folder that holds zorro/ .*phueb/Zorro"):
        read_pairs("zorro", None, "task")
    monkeypatch.setenv("E2LM_DATA", str(tmp_path))
    with pytest.raises(UserError, match="no folder"):
        read_pairs("blimp", None, "task")
    (tmp_path / "blimp").mkdir()
    with pytest.raises(UserError, match="no minimal pairs in"):
        read_pairs("blimp", None, "task")
    with pytest.raises(UserError, match="allowed are blimp, blimp-babylm, zorro"):
        read_pairs("blump", None, "task")


def test_a_file_that_is_cut_in_the_middle_is_named(data: Path) -> None:
    (data / "zorro" / "sentences" / "own" / "odd-one.txt").write_text("one line\n")
    with pytest.raises(UserError, match=r"odd-one\.txt: 1 lines; a Zorro file has an even number"):
        read_pairs("zorro", None, "task")
    (data / "blimp" / "word_order.jsonl").write_text('{"UID": "x", "sentence_good": "a"', encoding="utf-8")
    with pytest.raises(UserError, match=r"word_order\.jsonl:1: not valid JSON"):
        read_pairs("blimp", None, "task")
