"""Puts stored tensors into a live transformers model, with the result that ``from_pretrained`` has, bit for bit.

What a stored name stands for is left to transformers: its own loading (5.x, ``core_model_loading``) renames, fuses
experts and adds prefixes, here on an empty copy of the model, and what comes out of it is copied in place. Guarded:
every parameter gets its numbers, or nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError, nearest_names, one_line
from e2lm.one_thread import one_torch_thread
from e2lm.weights import WeightIndex

if TYPE_CHECKING:
    import torch

#: Buffers that older releases of transformers stored and that models make themselves today: masks, positions, angles.
FORMER_BUFFERS = re.compile(
    r"(^|\.)((attn|attention)\.(bias|masked_bias|causal_mask)|rotary_emb\.inv_freq|position_ids)$"
)
#: The layers behind the last that predict further tokens in training (DeepSeek-V3, arXiv 2412.19437, 2.2).
FURTHER_LAYERS = re.compile(r"(^|\.)layers\.(\d+)\.")


class SwapRefusedError(UserError):
    """These tensors cannot stand in for those of the live model: the model must be built anew for them."""


class WeightSwapper:
    """Replaces all weights of ``model`` again and again; ``stored`` are the tensors that it was built from.

    It is made before the model has run, since a swapped model is as one that never has.

    A :class:`UserError` names the tensor that has no place or the parameter that has no tensor, a
    :class:`SwapRefusedError` why this model cannot be swapped at all.
    """

    def __init__(self, model: Any, stored: WeightIndex | Mapping[str, torch.Tensor], where: object = None) -> None:
        self._model = model
        self._own: dict[str, torch.Tensor] = dict(model.state_dict(keep_vars=True))
        _require_plain(model, self._own)
        self._empty = _empty_copy(model)
        place = where if where is not None else getattr(stored, "folder", "the tensors")
        first = _loaded(self._empty, _without_numbers(stored), place)
        self._names = frozenset(first)
        self._require_all_parameters(place)
        self._fresh = _FreshState(model, self._empty)

    def swap(self, tensors: Mapping[str, torch.Tensor], where: object = "the tensors") -> None:
        """Copy a whole checkpoint into the model; dtypes are converted to the model's own."""
        loaded = _loaded(self._empty, tensors, where)
        if loaded.keys() != self._names:
            odd = sorted(loaded.keys() ^ self._names)[0]
            raise SwapRefusedError(f"{where}: tensor {odd!r} is in one checkpoint of the series but not in another")
        self._require_ties(loaded, where)
        self._copy(loaded)

    def patch(self, tensors: Mapping[str, torch.Tensor], where: object = "the tensors") -> None:
        """Copy some tensors into the model: what is fused in it must come whole."""
        loaded = _loaded(self._empty, tensors, where)
        self._require_ties(loaded, where)
        self._copy(loaded)

    def _copy(self, loaded: Mapping[str, torch.Tensor]) -> None:
        import torch

        with torch.no_grad(), one_torch_thread():
            for name, tensor in loaded.items():
                self._own[name].copy_(tensor)
            self._fresh.restore(self._model)

    def _require_all_parameters(self, where: object) -> None:
        given = {self._own[name].data_ptr() for name in self._names}
        for name, parameter in self._model.named_parameters():
            if parameter.data_ptr() not in given:
                raise UserError(f"{where}: no tensor is stored for the parameter {name!r} of the model")

    def _require_ties(self, loaded: Mapping[str, torch.Tensor], where: object) -> None:
        """Two tensors that are one in the model must be equal; transformers would not have tied them."""
        import torch

        seen: dict[int, str] = {}
        for name, tensor in loaded.items():
            other = seen.setdefault(self._own[name].data_ptr(), name)
            if other != name and not torch.equal(loaded[other], tensor):
                raise SwapRefusedError(f"{where}: {other!r} and {name!r} differ, which are one tensor in the model")


def model_of(config: Any, tensors: Mapping[str, torch.Tensor], where: object, **options: Any) -> Any:
    """The causal model of ``config`` (transformers) with ``tensors`` as ``from_pretrained`` loads them from a folder.

    ``options`` are those of ``from_pretrained``. Raises what :class:`WeightSwapper` does.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            kind = type(AutoModelForCausalLM.from_config(config))
        with _without_bar():
            model = kind.from_pretrained(None, config=config, state_dict=dict(tensors), **options)
    except Exception as error:  # whatever a configuration or somebody's code makes of it
        raise UserError(f"{where}: transformers cannot build the model ({one_line(error)[:200]})") from error
    WeightSwapper(model, tensors, where)
    return model


def require_places(config: Any, tensors: Mapping[str, torch.Tensor], where: object) -> None:
    """A :class:`UserError` where the causal model of ``config`` has no place for a tensor, or no tensor for a place.

    Names and shapes alone count, so ``tensors`` may be on the device "meta". Raises what the model's class raises where
    it cannot be built.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    parameters = list(empty.named_parameters(remove_duplicate=False))
    ties: dict[int, set[str]] = {}
    for name, parameter in parameters:
        ties.setdefault(id(parameter), set()).add(name)
    found = _loaded(empty, tensors, where).keys()
    for name, parameter in parameters:
        if not ties[id(parameter)] & found:
            raise UserError(f"{where}: no tensor is stored for the parameter {name!r} of the model")


# -- the live model -----------------------------------------------------------------------------------------------


def _require_plain(model: Any, own: Mapping[str, torch.Tensor]) -> None:
    if getattr(model, "hf_quantizer", None) is not None or getattr(model, "is_quantized", False):
        raise SwapRefusedError(f"{type(model).__name__} is quantized")
    if any(tensor.device.type == "meta" for tensor in own.values()):
        raise SwapRefusedError("parts of the model are not in memory")


def _empty_copy(model: Any) -> Any:
    """The same modules, names, types and ties, without a single number and without what others hang on it (hooks)."""
    import torch

    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    for module in model.modules():
        memo |= {id(hooks): type(hooks)() for name, hooks in vars(module).items() if name.endswith("_hooks")}
    try:
        return deepcopy(model, memo)
    except Exception as error:  # attributes of any kind: a lock, a handle, somebody's hook
        raise SwapRefusedError(f"{type(model).__name__} cannot be copied ({one_line(error)[:160]})") from error


class _FreshState:
    """What a model holds beside its stored tensors before it has run, and the way back there.

    RWKV divides its weights once and notes it; rotary embeddings of a growing length replace their angles.
    """

    def __init__(self, model: Any, empty: Any) -> None:
        stored = model.state_dict()
        self._buffers = [(name, one, one.clone()) for name, one in model.named_buffers() if name not in stored]
        self._marks = {
            name: {key: value for key, value in vars(module).items() if isinstance(value, bool | int | float | str)}
            for name, module in empty.named_modules()
        }

    def restore(self, model: Any) -> None:
        """Set back whatever running has changed."""
        for name, module in model.named_modules():
            vars(module).update(self._marks.get(name, {}))
        for name, buffer, numbers in self._buffers:
            buffer.copy_(numbers)
            place, _, leaf = name.rpartition(".")
            model.get_submodule(place)._buffers[leaf] = buffer


# -- transformers' loading ----------------------------------------------------------------------------------------


def _loaded(empty: Any, tensors: Mapping[str, torch.Tensor], where: object) -> dict[str, torch.Tensor]:
    """The tensors under the names and in the form that the live model has them; ``empty`` is as empty as before."""
    found = _converted(empty, tensors)
    if found.mismatched_keys:
        name, shape, wanted = sorted(found.mismatched_keys, key=str)[0]
        raise UserError(f"{where}: tensor {name!r} has shape {list(shape)}, the model wants {list(wanted)}")
    errors = [*found.conversion_errors.values(), *found.error_msgs]
    if errors:
        raise UserError(f"{where}: transformers cannot convert the weights ({one_line(errors[0])[:200]})")
    unknown = sorted(name for name in found.unexpected_keys if not _is_left_alone(empty, name))
    if unknown:
        more = f" ({len(unknown)} such)" if len(unknown) > 1 else ""
        near = nearest_names(unknown[0], empty.state_dict())
        raise UserError(f"{where}: tensor {unknown[0]!r} has no place in {type(empty).__name__}{more}; {near}")
    return found.tensors


@dataclass(frozen=True, slots=True)
class _Converted:
    tensors: dict[str, torch.Tensor]
    unexpected_keys: set[str]
    mismatched_keys: set[Any]
    conversion_errors: dict[str, str]
    error_msgs: list[str]


def _by_name(empty: Any, tensors: Mapping[str, torch.Tensor]) -> _Converted:
    """For models that are none of transformers': names are the model's own."""
    own = empty.state_dict()
    known = {name: tensor for name, tensor in tensors.items() if name in own}
    odd = {(name, one.shape, own[name].shape) for name, one in known.items() if one.shape != own[name].shape}
    return _Converted(known, set(tensors) - set(own), odd, {}, [])


def _converted(empty: Any, tensors: Mapping[str, torch.Tensor]) -> _Converted:
    if not hasattr(empty, "config"):
        return _by_name(empty, tensors)
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig
    except ImportError as error:
        raise SwapRefusedError(f"this transformers loads weights in another way ({one_line(error)})") from error
    place = next((tensor.device.type for tensor in tensors.values()), "cpu")
    # The mapping counts what it has seen, so each loading has its own.
    plan = LoadStateDictConfig(device_map={"": place}, weight_mapping=get_model_conversion_mapping(empty))
    with one_torch_thread(), _without_bar():
        told, _ = convert_and_load_state_dict_in_model(empty, dict(tensors), plan)
    state = empty.state_dict()
    found = {name: tensor for name, tensor in state.items() if name not in told.missing_keys}
    empty.to("meta")
    return _Converted(
        found, set(told.unexpected_keys), set(told.mismatched_keys), dict(told.conversion_errors), list(told.error_msgs)
    )


def _without_numbers(stored: WeightIndex | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import _getdtype

    if not isinstance(stored, WeightIndex):
        return {name: tensor.to("meta") for name, tensor in stored.items()}
    return {
        name: torch.empty(one.shape, dtype=_getdtype(one.dtype), device="meta") for name, one in stored.tensors.items()
    }


def _is_left_alone(model: Any, name: str) -> bool:
    """Whether transformers means to leave the stored tensor out: by its own lists, as a buffer of former releases."""
    lists = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    if FORMER_BUFFERS.search(name) or any(re.search(pattern, name) for pattern in lists):
        return True
    if not hasattr(model, "config"):
        return False
    config = model.config.get_text_config()
    layer = FURTHER_LAYERS.search(name)
    further = getattr(config, "num_nextn_predict_layers", None) or 0
    return layer is not None and 0 <= int(layer.group(2)) - int(config.num_hidden_layers) < further


def is_left_alone(folder: Path, name: str, tensor: torch.Tensor) -> bool:
    """Whether the model in ``folder`` has no use for its stored ``tensor``; False where that cannot be told."""
    try:
        empty = _model_without_numbers(folder)
        found = _converted(empty, {name: tensor.to("meta")})
    except Exception:  # what is wrong with the configuration is told when the model is built
        return False
    return not found.tensors and all(_is_left_alone(empty, one) for one in found.unexpected_keys)


def _model_without_numbers(folder: Path) -> Any:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(str(folder))
    named = (getattr(config, "architectures", None) or ["AutoModelForCausalLM"])[0]
    kind = getattr(transformers, named, transformers.AutoModelForCausalLM)
    with torch.device("meta"):
        return kind._from_config(config) if hasattr(kind, "_from_config") else kind.from_config(config)


@contextmanager
def _without_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
