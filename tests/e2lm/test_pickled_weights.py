"""Pickled weights are found where they lie, and what is not there in one piece, or not tensors alone, is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from e2lm import UserError
from e2lm.pickled_weights import pickled_tensors, read_pickled_index


def test_every_tensor_lies_where_it_is_said_to(tmp_path: Path) -> None:
    numbers = torch.arange(40.0)
    saved = {
        "a": numbers, "tied": numbers, "part": numbers[8:12].view(2, 2), "empty": torch.zeros(0, 3),
        **{str(kind): torch.arange(7).to(kind) for kind in (torch.bfloat16, torch.float16, torch.float64, torch.int64)},
    }  # fmt: skip
    torch.save(saved, tmp_path / "pytorch_model.bin")
    raw = (tmp_path / "pytorch_model.bin").read_bytes()
    found = read_pickled_index(tmp_path).tensors
    assert set(found) == set(saved)
    for name, tensor in saved.items():
        own = found[name]
        assert own.shape == tuple(tensor.shape)
        assert raw[own.start : own.end] == bytes(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    assert [found[name].dtype for name in ("a", "torch.bfloat16", "torch.float64", "torch.int64")] == [
        "F32", "BF16", "F64", "I64"
    ]  # fmt: skip
    assert found["a"].start == found["tied"].start


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "one.bin")
    torch.save({"b": torch.ones(3)}, tmp_path / "two.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.bin", "b": "two.bin"}}))
    assert {name: one.file.name for name, one in read_pickled_index(tmp_path).tensors.items()} == {
        "a": "one.bin",
        "b": "two.bin",
    }
    index.write_text(json.dumps({"weight_map": {"a": "../one.bin"}}))
    with pytest.raises(UserError, match="is no file beside it"):
        read_pickled_index(tmp_path)


class _Code:
    """What a pickle could run."""

    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.arange(6.0).reshape(2, 3).T}, "'a' .* does not lie there in one piece"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "'a' .* does not lie there in one piece"),
        ({"a": torch.ones(2), "step": 3}, "not the weights of a model"),
        ({"a": _Code()}, "refused, damaged or more than tensors"),
        (b"x" * 100, "damaged, or saved by a torch before 1.6"),
        (pickle.dumps({"a": 1}), "damaged, or saved by a torch before 1.6"),
    ],
)
def test_what_cannot_be_read_as_it_lies_is_one_line(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pytorch_model.bin"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(UserError, match=message) as error:
        pickled_tensors(file)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
