"""A set of tasks is known again as long as nothing it was made of has changed, and never where that is in doubt."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2lm_adapters.lm_eval import sources
from e2lm_adapters.lm_eval.sources import Sources, opened_files, sources_of, surroundings_key
from e2lm_adapters.lm_eval.tasks import load_tasks
from tests.e2lm_adapters.conftest import write_task

STOCK = """\
task: stock
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/data/items.jsonl}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
process_results: !function judge.process_results
metric_list: [{{metric: mine, aggregation: mean, higher_is_better: true}}]
"""
JUDGE = """\
from pathlib import Path

WORDS = (Path(__file__).parent / "words.txt").read_text()
LISTED = sorted(file.name for file in (Path(__file__).parent / "lists").iterdir())


def process_results(doc, results):
    return {"mine": float(len(WORDS) + len(LISTED))}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task of the stock kind, whose judge reads a file and lists a folder, beside one of ours."""
    monkeypatch.setattr(sources, "RACY_S", -1.0)
    tasks = tmp_path / "tasks"
    write_task(tasks, "small")
    (tasks / "data").mkdir()
    shutil.copy(tasks / "small.jsonl", tasks / "data" / "items.jsonl")
    (tasks / "lists").mkdir()
    for name in ("words.txt", "lists/a.txt"):
        (tasks / name).write_text("words", encoding="utf-8")
    (tasks / "judge.py").write_text(JUDGE, encoding="utf-8")
    (tasks / "stock.yaml").write_text(STOCK.format(folder=tasks), encoding="utf-8")
    return tasks


def known(folder: Path, connect: bool = False) -> Sources | None:
    began_s = time.time()
    with opened_files() as opened:
        loaded = load_tasks(["small", "stock"], [folder], None, 3, {})
        if connect:
            with socket.socket() as one:
                one.settimeout(0.01)
                one.connect_ex(("127.0.0.1", 9))
    return sources_of(loaded.task_dict["tasks"].values(), [], opened, [folder], began_s)


def grown(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with open(folder / name, "a", encoding="utf-8") as file:
            file.write("\n")

    return change


def new(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("", encoding="utf-8")


def touched(folder: Path) -> None:
    os.utime(folder / "words.txt")


def gone(folder: Path) -> None:
    (folder / "data" / "items.jsonl").unlink()


CHANGES = {
    "yaml": grown("small.yaml"),
    "code": grown("judge.py"),
    "data of ours": grown("small.jsonl"),
    "data of the stock kind": grown("data/items.jsonl"),
    "what the judge reads": grown("words.txt"),
    "what the judge lists": new("lists/b.txt"),
    "another task": new("aaa.yaml"),
    "another module": new("other.py"),
    "time": touched,
    "deletion": gone,
}


def test_what_has_not_changed_is_known_again(folder: Path) -> None:
    found = known(folder)
    assert found is not None
    assert found.are_unchanged()
    (folder.parent / "elsewhere.txt").write_text("", encoding="utf-8")
    assert found.are_unchanged()
    again = known(folder)  # what loading itself leaves behind changes nothing
    assert again is not None
    assert found.are_unchanged()


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(change: str, folder: Path) -> None:
    found = known(folder)
    assert found is not None
    time.sleep(0.01)
    CHANGES[change](folder)
    assert not found.are_unchanged()


def test_young_files_are_known_by_their_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "RACY_S", 1000.0)
    found = known(folder)
    assert found is not None
    assert all(one.sha256 for name, one in found.files.items() if name.startswith(str(folder)))


def test_where_the_network_was_asked_nothing_is_remembered(folder: Path) -> None:
    assert known(folder, connect=True) is None


def test_another_version_of_a_package_is_a_change(folder: Path) -> None:
    found = known(folder)
    assert found is not None
    assert not found.model_copy(update={"packages": {**found.packages, "lm_eval": "0.3"}}).are_unchanged()


def test_what_was_asked_for_and_the_environment_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = surroundings_key("small", 3)
    assert surroundings_key("small", 3) == key
    assert surroundings_key("small", 4) != key
    monkeypatch.setenv("HF_DATASETS_CACHE", "/elsewhere")
    assert surroundings_key("small", 3) != key
