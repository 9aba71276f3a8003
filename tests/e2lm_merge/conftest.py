"""Small models on disk, and one tensor through one strategy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from e2lm_merge.numbers.blocks import TensorMerge, Workspace
from e2lm_merge.numbers.formats import Bytes
from e2lm_merge.numbers.tensor_merge import look_at_all, merge_tensor
from e2lm_merge.numbers.torch_tensors import TORCH_TYPES, empty_tensor, tensor_bytes
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import find_strategy, plan_merge
from e2lm_merge.plan.recipe import recipe_from_data

Tensors = dict[str, torch.Tensor]
Array = NDArray[np.float64]

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "float32",
}


def tiny_tensors(seed: int, layers: int = 2, tied: bool = False, dtype: torch.dtype = torch.float32) -> Tensors:
    """Random tensors of a two-layer Llama of 16 dimensions."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * 0.1).to(dtype)

    found = {"model.embed_tokens.weight": random(40, 16), "model.norm.weight": random(16) + 1}
    for layer in range(layers):
        start = f"model.layers.{layer}."
        for part in ("q", "k", "v", "o"):
            found[f"{start}self_attn.{part}_proj.weight"] = random(16, 16)
        for part in ("gate", "up"):
            found[f"{start}mlp.{part}_proj.weight"] = random(24, 16)
        found[f"{start}mlp.down_proj.weight"] = random(16, 24)
        found[f"{start}input_layernorm.weight"] = random(16) + 1
        found[f"{start}post_attention_layernorm.weight"] = random(16) + 1
    if not tied:
        found["lm_head.weight"] = random(40, 16)
    return {name: tensor.to(dtype) for name, tensor in found.items()}


def write_model(folder: Path, tensors: Mapping[str, torch.Tensor], **config: Any) -> Path:
    """A model folder with these tensors; the config says as many layers as there are."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    layers = {int(name.split(".")[2]) for name in tensors if name.startswith("model.layers.")}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": len(layers), **config}))
    return folder


def merge_recipe(data: dict[str, Any], threads: int = 1) -> Tensors:
    """The merged tensors of a recipe given as data."""
    return merged_tensors(plan_merge(recipe_from_data(data, "test")), threads)


@dataclass(frozen=True, slots=True)
class TensorNumbers:
    """A tensor in memory as an input of a merge."""

    label: str
    tensor: torch.Tensor

    @property
    def dtype(self) -> str:
        """The type of the tensor."""
        return next(name for name, kind in TORCH_TYPES.items() if kind == self.tensor.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(self.tensor.shape)

    def read(self, start: int, into: Bytes) -> None:
        """Fill ``into`` with bytes of the tensor from byte ``start`` on."""
        into[:] = tensor_bytes(self.tensor)[start : start + len(into)]


def merge_one(
    strategy: str,
    tensors: Sequence[torch.Tensor],
    base: torch.Tensor | None = None,
    weights: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    name: str = "model.layers.0.x.weight",
    seed: int = 0,
    model_parameters: Sequence[Mapping[str, Any]] | None = None,
    layer: int = 0,
    layers: int = 2,
    **parameters: Any,
) -> torch.Tensor:
    """One tensor through ``strategy``; parameters not given are its defaults, those of models too."""
    found = find_strategy(strategy)
    own = [{key: value for key, value in found.model_defaults.items() if key != "weight"} for _ in tensors]
    for index, given in enumerate(model_parameters or []):
        own[index].update(given)
    for key in [key for key in parameters if key in found.model_defaults]:
        value = parameters.pop(key)
        for one in own:
            one[key] = value
    settled = {**found.defaults, **parameters}
    names = labels or [f"m{index}" for index in range(len(tensors))]
    merge = TensorMerge(
        name=name,
        shape=tuple(tensors[0].shape),
        dtype="F32",
        strategy=found.settled(settled),
        sources=tuple(TensorNumbers(label, tensor) for label, tensor in zip(names, tensors, strict=True)),
        base=None if base is None else TensorNumbers("base", base),
        weights=tuple(weights or [1.0] * len(tensors)),
        parameters=settled,
        model_parameters=tuple(own),
        seed=seed,
        layer=layer,
        layers=layers,
    )
    output, memory = empty_tensor(merge.shape, "F32")

    def sink(start: int, bytes_: Any) -> None:
        memory[start : start + len(bytes_)] = bytes_

    merge_tensor(merge, Workspace(), sink, look_at_all([merge]))
    return output


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    """Normal numbers of one seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fine_tunes(seed: int, count: int, *shape: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A base and models near it."""
    base = gaussian(seed, *shape)
    return base, [base + 0.1 * gaussian(seed + 1 + index, *shape) for index in range(count)]


WORDS = [f"w{index}" for index in range(36)]


def write_tokenizer(folder: str) -> None:
    """A tokenizer of words into the folder of a model."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    raw = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)


def write_items(path: Path, seed: int, count: int = 24) -> str:
    """Held-out items of those words."""
    rng = np.random.default_rng(seed)
    with open(path, "w") as handle:
        for _ in range(count):
            words = [WORDS[index] for index in rng.integers(0, 36, size=8)]
            handle.write(json.dumps({"context": " ".join(words[:5]), "continuation": " " + " ".join(words[5:])}) + "\n")
    return str(path)


def drawn_models(seed: int, shape: tuple[int, ...], count: int = 3, grid: float = 2.0**-7) -> tuple[list[Array], Array]:
    """Fine-tunes that have something in common, some numbers even all of it, and their base: multiples of ``grid``."""
    rng = np.random.default_rng(seed)

    def quantised(spread: float) -> Array:
        return np.round(rng.normal(0, spread, shape) / grid) * grid

    base, common = quantised(1.0), quantised(0.1)
    varying = rng.random(shape) < 0.8
    return [base + common + varying * quantised(0.15) for _ in range(count)], base


def merge_arrays(
    name: str, models: Sequence[Array], base: Array | None, weights: Sequence[float], *more: Any, **options: Any
) -> Array:
    """:func:`merge_one` of float64 arrays that float32 holds exactly."""

    def as_tensor(values: Array) -> torch.Tensor:
        tensor = torch.from_numpy(values.astype(np.float32))
        assert bool((tensor.double() == torch.from_numpy(values)).all())
        return tensor

    tensors = [as_tensor(model) for model in models]
    merged = merge_one(name, tensors, None if base is None else as_tensor(base), weights, *more, **options)
    found: Array = merged.double().numpy()
    return found


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes a base and fine-tunes near it; gives their folders, base first."""

    def make(count: int = 3, step: float = 0.05, **options: Any) -> list[str]:
        base = tiny_tensors(0, **options)
        folders = [str(write_model(tmp_path / "base", base))]
        for index in range(1, count + 1):
            near = {
                name: (tensor.float() + step * (tiny_tensors(index, **options)[name].float() - 0.5)).to(tensor.dtype)
                for name, tensor in base.items()
            }
            folders.append(str(write_model(tmp_path / f"ft{index}", near)))
        return folders

    return make


@pytest.fixture(name="merge_one")
def merge_one_fixture() -> Callable[..., torch.Tensor]:
    """:func:`merge_one`, which tests cannot import from here."""
    return merge_one


@pytest.fixture(name="merge_recipe")
def merge_recipe_fixture() -> Callable[..., Tensors]:
    """:func:`merge_recipe`."""
    return merge_recipe


@pytest.fixture(name="write_model")
def write_model_fixture() -> Callable[..., Path]:
    """:func:`write_model`."""
    return write_model


@pytest.fixture(name="tiny_tensors")
def tiny_tensors_fixture() -> Callable[..., Tensors]:
    """:func:`tiny_tensors`."""
    return tiny_tensors


@pytest.fixture(name="drawn_models")
def drawn_models_fixture() -> Callable[..., tuple[list[Array], Array]]:
    """:func:`drawn_models`."""
    return drawn_models


@pytest.fixture(name="merge_arrays")
def merge_arrays_fixture() -> Callable[..., Array]:
    """:func:`merge_arrays`."""
    return merge_arrays


@pytest.fixture
def scored_models(models: Callable[..., list[str]], tmp_path: Path) -> tuple[list[str], list[str]]:
    """A base and two fine-tunes with tokenizers, and two files of held-out items."""
    folders = models(2, step=0.3)
    for folder in folders:
        write_tokenizer(folder)
    return folders, [write_items(tmp_path / f"items{index}.jsonl", index) for index in range(2)]


@pytest.fixture(name="write_tokenizer")
def write_tokenizer_fixture() -> Callable[[str], None]:
    """:func:`write_tokenizer`."""
    return write_tokenizer


@pytest.fixture(name="write_items")
def write_items_fixture() -> Callable[..., str]:
    """:func:`write_items`."""
    return write_items


@pytest.fixture(name="gaussian")
def gaussian_fixture() -> Callable[..., torch.Tensor]:
    """:func:`gaussian`."""
    return gaussian


@pytest.fixture(name="fine_tunes")
def fine_tunes_fixture() -> Callable[..., tuple[torch.Tensor, list[torch.Tensor]]]:
    """:func:`fine_tunes`."""
    return fine_tunes
