"""What of a checkpoint beside its weights makes another model of it, and where its tokenizer lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm.weights import SINGLE_FILE
from e2lm_adapters.checkpoints.difference import difference, tokenizer_place


@pytest.fixture
def pair(tiny_series: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two checkpoints of a run that differ in their weights alone."""
    for step in (0, 10):
        shutil.copytree(tiny_series / f"checkpoint-{step}", tmp_path / "run" / f"checkpoint-{step}")
    return tmp_path / "run" / "checkpoint-0", tmp_path / "run" / "checkpoint-10"


def changed(path: Path, **entries: Any) -> None:
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**found, **entries}), encoding="utf-8")


def test_weights_alone_and_where_files_came_from_are_no_difference(pair: tuple[Path, Path]) -> None:
    first, other = pair
    changed(other / "config.json", transformers_version="0", _name_or_path="elsewhere")
    changed(other / "tokenizer_config.json", name_or_path="elsewhere")
    (other / "trainer_state.json").write_text("{}", encoding="utf-8")
    assert difference(first, other, {}) == ""


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config.json", {"architectures": ["OtherForCausalLM"]}),
        ("config.json", {"rope_theta": 500.0}),
        ("generation_config.json", {"eos_token_id": [0, 7]}),
        ("tokenizer_config.json", {"add_bos_token": True}),
        ("chat_template.json", {"chat_template": "{{ messages }}"}),
    ],
)
def test_an_entry_that_changes_how_weights_are_used_is_named(
    file: str, entries: dict[str, Any], pair: tuple[Path, Path]
) -> None:
    first, other = pair
    (name,) = entries
    if not (first / file).is_file():
        (first / file).write_text("{}", encoding="utf-8")
    if not (other / file).is_file():
        (other / file).write_text("{}", encoding="utf-8")
    changed(other / file, **entries)
    assert difference(first, other, {}) == f"{name} in {file} is another than in checkpoint-0"
    is_of_tokenizer = file in ("tokenizer_config.json", "chat_template.json")
    assert (difference(first, other, {"tokenizer": "named"}) == "") is is_of_tokenizer


def test_what_is_no_object_is_another(pair: tuple[Path, Path]) -> None:
    first, other = pair
    (other / "config.json").write_text("[]", encoding="utf-8")
    assert difference(first, other, {}) == "something in config.json is another than in checkpoint-0"


@pytest.mark.parametrize("name", ["qwen.tiktoken", "spiece.model", "merges.txt", "modeling_own.py"])
def test_another_file_of_a_tokenizer_or_of_code_is_a_difference(name: str, pair: tuple[Path, Path]) -> None:
    first, other = pair
    (other / name).write_bytes(b"one")
    assert difference(first, other, {}) == f"{name} is in checkpoint-10 and not in checkpoint-0"
    (first / name).write_bytes(b"two")
    assert difference(first, other, {}) == f"{name} is another than in checkpoint-0"


def test_another_type_counts_only_where_each_checkpoint_is_computed_in_its_own(pair: tuple[Path, Path]) -> None:
    first, other = pair
    changed(other / "config.json", dtype="bfloat16")
    assert difference(first, other, {"dtype": "auto"}) == "dtype in config.json is another than in checkpoint-0"
    assert difference(first, other, {"dtype": "float32"}) == ""
    # Where the configuration names none it is that of the weights.
    for folder in pair:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = {key: value for key, value in found.items() if not key.endswith("dtype")}
        (folder / "config.json").write_text(json.dumps(found), encoding="utf-8")
    assert difference(first, other, {}) == ""
    weights = {name: one.to(torch.float16) for name, one in load_file(other / SINGLE_FILE).items()}
    save_file(weights, other / SINGLE_FILE, metadata={"format": "pt"})
    assert difference(first, other, {}) == "weights of type F16, in checkpoint-0 F32"


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model", "qwen.tiktoken"])
def test_a_tokenizer_lies_with_the_checkpoint_or_one_above(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint-0"
    folder.mkdir(parents=True)
    assert tokenizer_place(folder) is None
    (folder.parent / name).touch()
    assert tokenizer_place(folder) == folder.parent
    (folder / name).touch()
    assert tokenizer_place(folder) == folder
