"""LoRA adapters: ``MODEL+ADAPTER`` is the model with the adapter merged in, made block by block as it is read.

What is read are the numbers that peft's ``merge_and_unload`` comes to and saves, computed in float32 and rounded once
into the type of the model. Shape suffixes: R rank, I inputs, O outputs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.arrays import Reals
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.pickled_weights import pickled_tensors
from e2lm.weights import StoredTensor, tensors_in
from e2lm_merge.numbers.formats import FLOAT_BYTES, Bytes, Narrower, empty_bytes, widen
from e2lm_merge.numbers.stored import FileNumbers, OpenFiles, read_bytes

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"
PREFIX = "base_model.model."

#: Ways to begin an adapter that leave the model's own weights as they were.
PLAIN_BEGINNINGS = (True, False, "gaussian", "eva", "orthogonal", None)

#: Switches of peft under which the merged weights are more than the model's plus a product.
OTHER_KINDS = (
    "use_dora", "lora_bias", "use_bdlora", "arrow_config", "alora_invocation_tokens", "corda_config", "loftq_config",
    "target_parameters", "trainable_token_indices", "layer_replication", "megatron_config",
)  # fmt: skip

#: Blocks start anywhere; rows of the product are made whole, about so many numbers at a time.
ROW_NUMBERS = 1 << 18


@dataclass(frozen=True)
class LoraAdapter:
    """The adapter in ``folder``: ``products`` are added to the model's tensors, ``whole`` ones take their place."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the adapter's weights and of what decides how they count."""
        told = sha256(json.dumps(dict(self.config), sort_keys=True, default=str).encode())
        for file in sorted({stored.file for stored in self.tensors.values()}):
            told.update(file.read_bytes())
        return told.hexdigest()

    @cached_property
    def products(self) -> dict[str, tuple[str, str]]:
        """The two factors' names in the file, by the tensor that their product is added to."""
        found = {}
        for name in self.tensors:
            for first, second in (("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B")):
                if name.endswith(f".{first}"):
                    module = name.removesuffix(f".{first}")
                    found[f"{module.removeprefix(PREFIX)}.weight"] = (name, f"{module}.{second}")
        return found

    @cached_property
    def whole(self) -> dict[str, str]:
        """Names in the file of tensors that take the place of the model's, by the latter's name."""
        parts = {one for pair in self.products.values() for one in pair}
        return {
            re.sub(r"\.modules_to_save(\.default)?|\.base_layer", "", name.removeprefix(PREFIX)): name
            for name in self.tensors
            if name not in parts
        }

    def scale(self, module: str, rank: int) -> float:
        """What the product of ``module`` is multiplied by: α/r, or α/√r of rank-stabilised adapters."""
        alpha = _by_pattern(self.config.get("alpha_pattern"), module, self.config.get("lora_alpha", 8))
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def _by_pattern(patterns: Any, module: str, default: Any) -> Any:
    """The value of the first pattern that fits the end of the module's name, as peft reads them."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def open_adapter(
    folder: Path, stored: Mapping[str, StoredTensor], label: str, allow_pickle: bool = False
) -> LoraAdapter:
    """The adapter in ``folder`` for a model with the tensors ``stored``; a :class:`UserError` where it does not fit."""
    config = read_adapter_config(folder)
    if str(config.get("peft_type", "LORA")).upper() != "LORA":
        raise UserError(f"{folder}: an adapter of type {config['peft_type']}; merged in are those of type LORA")
    for field in OTHER_KINDS:
        if config.get(field):
            raise UserError(f"{folder / ADAPTER_CONFIG}: {field} is set; merge this adapter in with peft first")
    if config.get("init_lora_weights", True) not in PLAIN_BEGINNINGS:
        raise UserError(
            f"{folder / ADAPTER_CONFIG}: init_lora_weights is {config['init_lora_weights']!r}, which changed the model "
            "too; merge this adapter in with peft first"
        )
    adapter = LoraAdapter(folder, config, _adapter_tensors(folder, allow_pickle))
    foreign = next((name for name in adapter.tensors if not name.startswith(PREFIX)), None)
    if foreign is not None or not adapter.products:
        found = f"tensor {foreign!r}" if foreign is not None else "no pair of LoRA factors"
        raise UserError(f"{folder / ADAPTER_FILE}: found {found}; expected what peft saves: {PREFIX}....lora_A.weight")
    for name, (_, second) in adapter.products.items():
        if second not in adapter.tensors:
            raise UserError(f"{folder / ADAPTER_FILE}: tensor {second!r} is missing; copy the adapter again")
        _known(name, stored, folder, label)
        _check_shapes(adapter, name, stored[name])
    for name, own in adapter.whole.items():
        if "lora_" in own:
            raise UserError(
                f"{folder / ADAPTER_FILE}: tensor {own!r} is of an unknown kind; merge it in with peft first"
            )
        if adapter.tensors[own].shape != _known(name, stored, folder, label).shape:
            raise UserError(
                f"{folder / ADAPTER_FILE}: tensor {own!r} has another shape than {name!r} of {label}; where it came "
                "with new tokens, merge it in with peft first"
            )
    return adapter


def _adapter_tensors(folder: Path, allow_pickle: bool) -> dict[str, StoredTensor]:
    if (folder / ADAPTER_FILE).is_file():
        return tensors_in(folder / ADAPTER_FILE)
    if not (folder / ADAPTER_PICKLE).is_file():
        raise UserError(f"{folder}: {ADAPTER_FILE} is missing; save the adapter as safetensors")
    if not allow_pickle:
        raise UserError(f"{folder}: {ADAPTER_PICKLE} alone, a pickle, which can run code; say --allow-pickle")
    return pickled_tensors(folder / ADAPTER_PICKLE)


def _known(name: str, stored: Mapping[str, StoredTensor], folder: Path, label: str) -> StoredTensor:
    if name not in stored:
        raise UserError(
            f"{folder / ADAPTER_FILE}: changes tensor {name!r}, which {label} has not. {nearest_names(name, stored)} "
            "Is it the adapter of another model?"
        )
    if stored[name].dtype not in FLOAT_BYTES:
        raise UserError(f"{label}: tensor {name!r} is stored as {stored[name].dtype}, and the adapter changes it")
    return stored[name]


def _check_shapes(adapter: LoraAdapter, name: str, stored: StoredTensor) -> None:
    first, second = (adapter.tensors[one].shape for one in adapter.products[name])
    is_product = len(first) == len(second) == 2 and first[0] == second[1]
    if not is_product or stored.shape not in ((second[0], first[1]), (first[1], second[0])):
        raise UserError(
            f"{adapter.folder / ADAPTER_FILE}: factors {list(second)} and {list(first)} do not fit tensor {name!r} of "
            f"shape {list(stored.shape)}; is it the adapter of another model?"
        )


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """The fields of ``adapter_config.json``; a :class:`UserError` where it is missing or broken."""
    try:
        found = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder}: no {ADAPTER_CONFIG}; expected the folder of a LoRA adapter behind the +") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / ADAPTER_CONFIG}: not valid JSON ({one_line(error)})") from error
    if not isinstance(found, dict):
        raise UserError(f"{folder / ADAPTER_CONFIG}: found {type(found).__name__}; expected the fields of an adapter")
    return found


def adapted(
    label: str, stored: StoredTensor, adapter: LoraAdapter, name: str, files: OpenFiles
) -> FileNumbers | AdaptedNumbers:
    """What a model with ``adapter`` holds in the place of ``stored``, which the model alone calls ``name``."""
    # A layer that was replaced may have a product too: that of new embeddings, saved beside the adapter.
    replaced = adapter.tensors[adapter.whole[name]] if name in adapter.whole else stored
    if name in adapter.products:
        return AdaptedNumbers(label, replaced, adapter, name, files)
    return FileNumbers(label, replaced, files)


class AdaptedNumbers:
    """One tensor of a model with its adapter merged in."""

    def __init__(self, label: str, stored: StoredTensor, adapter: LoraAdapter, name: str, files: OpenFiles) -> None:
        self.label = label
        self.stored = stored
        self._files = files
        first, second = (self._factor(adapter.tensors[one]) for one in adapter.products[name])
        module = name.removesuffix(".weight")
        turned = bool(adapter.config.get("fan_in_fan_out")) or adapter.products[name][0].endswith("lora_embedding_A")
        # Rows of the product are rows of ``left`` times ``right``: of BA, or of its transpose AᵀBᵀ.
        left, right = (first.T, second.T) if turned else (second, first)
        if (left.shape[0], right.shape[1]) != stored.shape:
            raise UserError(
                f"{adapter.folder / ADAPTER_CONFIG}: fan_in_fan_out does not fit tensor {name!r} of shape "
                f"{list(stored.shape)}; is it the adapter of another model?"
            )
        self._left, self._right = left.astype(np.float64) * adapter.scale(module, len(first)), right.astype(np.float64)

    @property
    def dtype(self) -> str:
        """The stored type of the model's own tensor."""
        return self.stored.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        return self.stored.shape

    def _factor(self, stored: StoredTensor) -> Reals:
        bytes_ = empty_bytes(stored.end - stored.start)
        read_bytes(self._files.descriptor(stored.file), stored.start, bytes_, stored.file)
        numbers_N = np.empty(math.prod(stored.shape), dtype=np.float32)
        widen(bytes_, stored.dtype, numbers_N)
        return numbers_N.reshape(stored.shape)

    def read(self, start: int, into: Bytes) -> None:
        """Fill ``into`` with bytes of the tensor from byte ``start`` on, as if it were stored so."""
        size, columns = FLOAT_BYTES[self.dtype], self.shape[1]
        read_bytes(self._files.descriptor(self.stored.file), self.stored.start + start, into, self.stored.file)
        numbers_N = np.empty(len(into) // size, dtype=np.float32)
        widen(into, self.dtype, numbers_N)
        begin, step = start // size, max(1, ROW_NUMBERS // columns)
        end = begin + len(numbers_N)
        # Always the same rows at a time, so that no bit depends on where a block begins.
        for row in range(begin // columns // step * step, -(-end // columns), step):
            product_N = (self._left[row : row + step] @ self._right).reshape(-1)
            first = row * columns
            left, right = max(begin, first), min(end, first + len(product_N))
            numbers_N[left - begin : right - begin] += product_N[left - first : right - first]
        into[:] = Narrower(self.dtype).narrow(numbers_N, self.label)
