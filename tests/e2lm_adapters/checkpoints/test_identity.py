"""Weights are seen in one pass as torch sees them, and the files that count beside them are those that are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from e2lm.weights import SINGLE_FILE, read_weight_index
from e2lm_adapters.checkpoints import identity
from e2lm_adapters.checkpoints.identity import input_files, seen_bytes
from e2lm_adapters.scoring.swap import seen_weights

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool)


def drawn(seed: int) -> dict[str, torch.Tensor]:
    """Tensors of many types and sizes; now and then a number of one is NaN or infinite."""
    torch.manual_seed(seed)
    tensors = {}
    for number in range(8):
        shape = [int(torch.randint(0, 40, ())) for _ in range(int(torch.randint(0, 3, ())))]
        tensor = (torch.randn(shape) * 100).to(TYPES[int(torch.randint(0, len(TYPES), ()))])
        if tensor.is_floating_point() and tensor.numel() and torch.rand(()) < 0.3:
            bad = [float("nan"), float("inf"), -float("inf")][int(torch.randint(0, 3, ()))]
            tensor.view(-1)[int(torch.randint(0, tensor.numel(), ())) :] = bad
        elif tensor.is_floating_point() and tensor.numel():
            tensor.view(-1)[0] = torch.finfo(tensor.dtype).max
        tensors[f"layer.{number}"] = tensor
    return tensors


@pytest.mark.parametrize("seed", range(40))
def test_one_pass_sees_what_torch_and_the_hash_see(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "BLOCK_BYTES", 64)
    tensors = drawn(seed)
    save_file(tensors, tmp_path / SINGLE_FILE)
    expected, found = seen_weights(tmp_path), seen_bytes(read_weight_index(tmp_path))
    assert found is not None
    assert found[0] == expected.sha256
    broken = {name: int((~one.isfinite()).sum()) for name, one in tensors.items() if one.is_floating_point()}
    told = [
        f"tensor {name!r} holds {bad} NaN or infinite of {tensors[name].numel()} numbers"
        for name, bad in broken.items()
        if bad
    ]
    assert (found[1] == "") == (expected.not_finite == "") == (not told)
    assert not told or found[1].removeprefix(f"{tmp_path}: ") in told


def test_numbers_of_eight_bits_are_left_to_torch(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3).to(torch.float8_e4m3fn)}, tmp_path / SINGLE_FILE)
    assert seen_bytes(read_weight_index(tmp_path)) is None


def test_files_that_are_read_count_and_what_a_trainer_leaves_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint-10"
    folder.mkdir(parents=True)
    (tmp_path / "step=1.ckpt").write_bytes(b"weights")
    assert input_files(tmp_path / "step=1.ckpt") == ()
    for name in ("config.json", "tokenizer.json", "modeling_own.py", "trainer_state.json", "optimizer.pt", "README.md"):
        (folder / name).write_text(name, encoding="utf-8")
    (folder.parent / "tokenizer.json").write_text("of the run", encoding="utf-8")
    assert [name for name, _ in input_files(folder)] == ["config.json", "modeling_own.py", "tokenizer.json"]
    (folder / "tokenizer.json").unlink()
    (folder.parent / "results.json").write_text("", encoding="utf-8")
    before = input_files(folder)
    assert [name for name, _ in before] == ["config.json", "modeling_own.py", "../tokenizer.json"]
    (folder.parent / "tokenizer.json").write_text("another", encoding="utf-8")
    assert input_files(folder) != before
