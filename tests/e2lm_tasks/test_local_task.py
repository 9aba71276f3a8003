from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from e2lm import UserError
from e2lm_tasks.local_task import read_rows

YAML = (
    "task: probe\nclass: !function e2lm_tasks.local_task.LocalTask\noutput_type: loglikelihood_rolling\n"
    "test_split: test\ndoc_to_text: ''\ndoc_to_target: text\nmetadata: {version: 1.0}\n"
)


def load(folder: Path, keys: str) -> object:
    (folder / "probe.yaml").write_text(YAML + keys, encoding="utf-8")
    return TaskManager(include_path=str(folder), include_defaults=False).load(["probe"])["tasks"]["probe"]


def test_data_beside_the_yaml_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "data.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    task = load(folder, "dataset_kwargs: {data_files: data.jsonl}\n")
    assert [doc["text"] for doc in task.eval_docs] == ["one", "two"]  # type: ignore[attr-defined]


def test_line_separators_inside_a_text_end_no_row(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"text": "one\u2028two\x85three"}\n', encoding="utf-8")
    assert read_rows(file) == [{"text": "one\u2028two\x85three"}]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "set dataset_kwargs"),
        ("dataset_kwargs: {data_files: [a, b]}\n", "set dataset_kwargs"),
        ("dataset_kwargs: {data_files: ../data.jsonl}\n", "lies outside the folder of the YAML"),
        ("dataset_kwargs: {data_files: /etc/hostname}\n", "lies outside the folder of the YAML"),
        ("dataset_kwargs: {data_files: gone.jsonl}\n", "no such file"),
    ],
)
def test_data_that_is_not_beside_the_yaml_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, keys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": 1}\n{"text": \n', r"data\.jsonl:2: not valid JSON"),
        (b"[1]\n", r"data\.jsonl:1: found list"),
        (b"\n\n", "holds no items"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_damaged_data_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path / "data.jsonl")
