from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm.errors import NotFiniteError
from e2lm.live_weights import WeightSwapper
from e2lm.weights import SHARD_INDEX, SINGLE_FILE, read_weight_index
from e2lm_adapters.scoring.swap import ReadAhead, checked_weights, require_same_shapes, stored_tensors

HEAD, EMBEDDING, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def changed(source: Path, folder: Path, **tensors: torch.Tensor | None) -> Path:
    """A copy of a checkpoint with tensors replaced, added or (None) left out; ``__`` in names stands for a dot."""
    shutil.copytree(source, folder)
    weights = load_file(folder / SINGLE_FILE)
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del weights[key]
        else:
            weights[key] = tensor
    save_file(weights, folder / SINGLE_FILE, metadata={"format": "pt"})
    return folder


def sharded(source: Path, folder: Path) -> Path:
    """The same checkpoint in two files."""
    shutil.copytree(source, folder)
    weights = load_file(folder / SINGLE_FILE)
    (folder / SINGLE_FILE).unlink()
    names = sorted(weights)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(part, file))
    (folder / SHARD_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    return folder


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(stored_tensors(read_weight_index(folder)))


def test_a_swap_leaves_the_model_with_exactly_the_other_weights(tiny_series: Path) -> None:
    first, second = tiny_series / "checkpoint-0", tiny_series / "checkpoint-10"
    model = loaded(first)
    WeightSwapper(model, read_weight_index(first)).swap(tensors_of(second))
    expected = loaded(second).state_dict()
    assert set(model.state_dict()) == set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_stored_half_precision_is_converted_to_the_type_of_the_model(tiny_series: Path, tmp_path: Path) -> None:
    folder = tiny_series / "checkpoint-0"
    half = {name: tensor.bfloat16() for name, tensor in tensors_of(folder).items()}
    model = loaded(tiny_series / "checkpoint-10")
    WeightSwapper(model, read_weight_index(folder)).swap(half)
    assert model.lm_head.weight.dtype == torch.float32
    assert torch.equal(model.lm_head.weight, half[HEAD].float())


def test_tied_embeddings_are_stored_once_and_swapped_once(tiny_llama: Path, tmp_path: Path) -> None:
    folder = changed(tiny_llama, tmp_path / "tied", lm_head__weight=None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}), encoding="utf-8")
    model = loaded(folder)
    swapper = WeightSwapper(model, read_weight_index(folder))
    other = {name: tensor + 1 for name, tensor in tensors_of(folder).items()}
    swapper.swap(other)
    assert torch.equal(model.lm_head.weight, other[EMBEDDING])
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_names_with_or_without_the_prefix_of_the_base_model_find_their_place(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(tiny_llama, folder)
    weights = {name.removeprefix("model."): tensor for name, tensor in load_file(folder / SINGLE_FILE).items()}
    save_file(weights, folder / SINGLE_FILE)
    model = loaded(tiny_llama)
    WeightSwapper(model, read_weight_index(folder)).swap({name: tensor * 2 for name, tensor in weights.items()})
    assert torch.equal(model.model.norm.weight, weights["norm.weight"] * 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__norm__weight": torch.ones(65)}, r"'model.norm.weight' has shape \[65\], .*series \[64\]"),
        # What one of them lacks is judged by the loader, who knows what the model needs.
        ({"model__norm__weight": None}, None),
        ({"model__extra__weight": torch.ones(3)}, None),
    ],
)
def test_checkpoints_of_other_shapes_are_named(
    change: dict[str, torch.Tensor | None], message: str | None, tiny_llama: Path, tmp_path: Path
) -> None:
    other = changed(tiny_llama, tmp_path / "checkpoint-7", **change)
    with nullcontext() if message is None else pytest.raises(UserError, match=message):
        require_same_shapes(read_weight_index(tiny_llama), read_weight_index(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__norm__weight": None}, "no tensor is stored for the parameter 'model.norm.weight'"),
        ({"model__nrom__weight": torch.ones(3)}, "'model.nrom.weight' has no place .*Did you mean 'model.norm.weight'"),
        ({"model__norm__weight": torch.ones(65)}, r"has shape \[65\], the model wants \[64\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_model_is_named(
    change: dict[str, torch.Tensor | None], message: str, tiny_llama: Path, tmp_path: Path
) -> None:
    other = changed(tiny_llama, tmp_path / "checkpoint-7", **change)
    with pytest.raises(UserError, match=message):
        WeightSwapper(loaded(tiny_llama), read_weight_index(other))


@pytest.mark.parametrize("change", [{NORM: None}, {"extra": torch.ones(3)}, {NORM: torch.ones(65)}])
def test_a_refused_swap_changes_nothing(change: dict[str, torch.Tensor | None], tiny_llama: Path) -> None:
    model = loaded(tiny_llama)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    swapper = WeightSwapper(model, read_weight_index(tiny_llama))
    mixed = {**{name: tensor + 1 for name, tensor in tensors_of(tiny_llama).items()}, **change}
    tensors = {name: tensor for name, tensor in mixed.items() if tensor is not None}
    with pytest.raises(UserError, match="tensor '"):
        swapper.swap(tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_found_with_the_name_of_their_tensor(
    value: float, tiny_llama: Path, tmp_path: Path
) -> None:
    damaged = torch.ones(64)
    damaged[[3, 9]] = value
    folder = changed(tiny_llama, tmp_path / "nan", model__norm__weight=damaged)
    with pytest.raises(UserError, match=r"'model\.norm\.weight' holds 2 NaN or infinite of 64 numbers"):
        checked_weights(folder)


def test_sharded_weights_are_read_like_whole_ones(tiny_llama: Path, tmp_path: Path) -> None:
    folder = sharded(tiny_llama, tmp_path / "sharded")
    whole, parts = tensors_of(tiny_llama), tensors_of(folder)
    assert set(whole) == set(parts)
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
    assert checked_weights(folder).index.params == checked_weights(tiny_llama).index.params


def test_a_missing_shard_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    folder = sharded(tiny_llama, tmp_path / "sharded")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"shard model-00002-of-00002\.safetensors is missing"):
        checked_weights(folder)


def test_the_same_bytes_have_the_same_hash_and_others_another(tiny_series: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_series / "checkpoint-0", copy)
    first = checked_weights(tiny_series / "checkpoint-0").sha256
    assert checked_weights(copy).sha256 == first
    assert checked_weights(tiny_series / "checkpoint-10").sha256 != first


def test_read_ahead_gives_what_was_asked_for_whatever_was_started(tiny_series: Path) -> None:
    first, second = tiny_series / "checkpoint-0", tiny_series / "checkpoint-10"
    with ReadAhead() as reader:
        reader.start(first)
        assert torch.equal(reader.take(second)[HEAD], tensors_of(second)[HEAD])
        assert torch.equal(reader.take(first)[HEAD], tensors_of(first)[HEAD])


def test_an_error_while_reading_ahead_comes_out_when_the_weights_are_taken(tmp_path: Path) -> None:
    with ReadAhead() as reader:
        reader.start(tmp_path)
        with pytest.raises(UserError, match="no weights"):
            reader.take(tmp_path)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_hundred_swaps_leak_nothing(tiny_series: Path) -> None:
    folders = [tiny_series / f"checkpoint-{step}" for step in (0, 10, 20, 30)]
    model = loaded(folders[0])
    swapper = WeightSwapper(model, read_weight_index(folders[0]))
    sizes = []
    with ReadAhead() as reader:
        for number in range(120):
            folder = folders[number % len(folders)]
            swapper.swap(reader.take(folder))
            reader.start(folders[(number + 1) % len(folders)])
            sizes.append(resident_bytes())
    # The first swaps fill the allocator's pools.
    assert max(sizes[20:]) <= 1.02 * sizes[20]


#: Types of eight bits -> the pattern that is none of their numbers.
EIGHT_BITS = {
    torch.float8_e4m3fn: 0x7F,
    torch.float8_e5m2: 0x7C,
    torch.float8_e4m3fnuz: 0x80,
    torch.float8_e5m2fnuz: 0x80,
    torch.float8_e8m0fnu: 0xFF,
}


@pytest.mark.parametrize(("dtype", "bad"), EIGHT_BITS.items(), ids=str)
def test_numbers_of_eight_bits_are_looked_at_too(
    dtype: torch.dtype, bad: int, tiny_llama: Path, tmp_path: Path
) -> None:
    bits = torch.tensor([0x38, 0x39, 0x01], dtype=torch.uint8)
    good = changed(tiny_llama, tmp_path / "good", scale=bits.view(dtype))
    assert checked_weights(good).not_finite == ""
    bits[1] = bad
    with pytest.raises(NotFiniteError, match="tensor 'scale' holds 1 NaN or infinite of 3"):
        checked_weights(changed(tiny_llama, tmp_path / "bad", scale=bits.view(dtype)))
