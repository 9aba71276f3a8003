"""State dicts whose names are the family's, once wrappers' prefixes are off: read with ``--config DIR``.

Lightning's ``*.ckpt``, nanoGPT's ``ckpt.pt``, plain state dicts, torch's distributed checkpoints (torchtitan, FSDP).
``DIR`` holds the ``config.json`` of the family, and the tokenizer. Names and shapes must be the family's, all of them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from e2lm.atomic_file import whole_file
from e2lm.checkpoint_format import CheckpointFormat, FoundCheckpoint
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.step_name import step_of
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.checkpoints.formats.distributed import (
    DISTRIBUTED_FOLDERS,
    METADATA,
    distributed_folder,
    distributed_shapes,
    distributed_tensors,
    why_pieces_missing,
)
from e2lm_adapters.checkpoints.formats.torch_file import files_of, inspected, numbers_in, shapes_in, why_not_whole
from e2lm_adapters.checkpoints.formats.transformers_folder import trainer_state
from e2lm_adapters.checkpoints.pickled import COMPANIONS

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]

#: What wrappers put before a name, or (torch.compile, FSDP, activation checkpointing) between its parts.
PREFIXES = ("module.", "model.", "_forward_module.", "state_dict.", "net.", "lm.", "app.", "policy.", "actor.")
_BETWEEN = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
#: Entries of a state dict that hold the weights, outermost first.
_INSIDE = ("state_dict", "model", "model_state_dict", "state")
#: Weights that nanoGPT keeps as nn.Linear, [out, in], where GPT-2 of transformers has Conv1D, [in, out].
_TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


# -- which place is which -----------------------------------------------------------------------------------------


def _lightning(place: Path) -> FoundCheckpoint | None:
    if not place.is_file() or place.suffix != ".ckpt":
        return None
    return _looked(place, ("global_step",))


def _nanogpt(place: Path) -> FoundCheckpoint | None:
    if not place.is_file() or place.suffix != ".pt" or place.stem != "ckpt":
        return None
    return _looked(place, ("iter_num",))


def _plain(place: Path) -> FoundCheckpoint | None:
    """What ``litgpt convert_from_litgpt`` and many scripts leave: ``model.pth``, alone or in a folder of its step."""
    if place.is_file():
        is_meant = place.suffix in (".pt", ".pth") and "-rank" not in place.name and step_of(place.name) is not None
        return _looked(place, ("step", "global_step", "iter_num")) if is_meant else None
    files = [place / name for name in ("model.pth", "model.pt") if (place / name).is_file()]
    if not files or (place / "config.yaml").is_file():
        return None
    return _looked(files[0], ("step", "global_step", "iter_num"))


def _looked(file: Path, counters: tuple[str, ...]) -> FoundCheckpoint | None:
    unfinished = why_not_whole(file)
    if unfinished:
        return FoundCheckpoint((file,), unfinished)
    try:
        stored = inspected(file)
    except UserError as error:
        return FoundCheckpoint((file,), unfinished=str(error).removeprefix(f"{file}: "))
    if not isinstance(stored, dict):
        return None
    steps = [stored[name] for name in counters if isinstance(stored.get(name), int)]
    params = numbers_in(shapes_in(weights_of(stored)))
    return FoundCheckpoint((file,), step=steps[0] if steps else None, params=params)


def _distributed(place: Path) -> FoundCheckpoint | None:
    folder = distributed_folder(place)
    if folder is None or (place / "common.pt").is_file() or (place / "metadata.json").is_file():
        return None
    files = tuple(files_of(folder, METADATA, "*.distcp"))
    step, tokens = trainer_state(place)
    out = quote(f"{place}-hf")
    if folder.name in DISTRIBUTED_FOLDERS:
        command = f"accelerate merge-weights {quote(str(folder))} {out}"
    else:
        command = (
            f"python scripts/checkpoint_conversion/convert_to_hf.py {quote(str(folder))} {out} --model_name NAME "
            "--model_flavor SIZE --hf_assets_path MODEL"
        )
    try:
        unfinished = why_pieces_missing(folder)
        params = None if unfinished else numbers_in(_model_shapes(distributed_shapes(folder)))
    except UserError as error:
        unfinished, params = str(error).removeprefix(f"{folder}/"), None
    return FoundCheckpoint(files, unfinished, command, step, tokens, params)


def _model_shapes(shapes: Shapes) -> Shapes:
    """Those of ``shapes`` that are no state of an optimizer or of the training program."""
    return {name: shape for name, shape in shapes.items() if not name.startswith(_NO_MODEL)}


_NO_MODEL = ("optim", "app.optim", "_optim", "train_state", "lr_scheduler", "dataloader")


def weights_of(stored: Any) -> Any:
    """The mapping of names to tensors inside what a trainer saved."""
    for _ in _INSIDE:
        inside = next(
            (stored[name] for name in _INSIDE if isinstance(stored, dict) and _is_mapping(stored, name)), None
        )
        if inside is None:
            break
        stored = inside
    return stored


def _shapes(stored: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of what torch has loaded."""
    return {str(name): tuple(one.shape) for name, one in weights_of(stored).items() if hasattr(one, "shape")}


def _is_mapping(stored: dict[Any, Any], name: str) -> bool:
    return isinstance(stored.get(name), Mapping)


# -- names ----------------------------------------------------------------------------------------------------------


def family_names(stored: Shapes, family: Shapes, tied: Mapping[str, str], source: str) -> dict[str, str]:
    """Stored name -> the family's, for each tensor of the family; a :class:`UserError` for anything that does not fit.

    ``tied`` names tensors that share their numbers with another one, which are stored once or twice.

    >>> family_names({"model.a": (2,), "model.b": (3,)}, {"a": (2,), "b": (3,)}, {}, "x.ckpt")
    {'model.a': 'a', 'model.b': 'b'}
    """
    best: dict[str, str] = {}
    inside = ""
    for prefix in _prefixes(stored):
        own = {name: _BETWEEN.sub("", name.removeprefix(prefix)) for name in stored if name.startswith(prefix)}
        fitting = {name: to for name, to in own.items() if to in family}
        if len(fitting) > len(best):
            best, inside = fitting, prefix
    _require_all(best, inside, stored, family, tied, source)
    return best


def _prefixes(stored: Shapes) -> list[str]:
    """Every beginning of a name that is made of wrappers' prefixes, the empty one first."""
    found = {""}
    for name in stored:
        left, taken = name, ""
        while True:
            word = next((one for one in (*PREFIXES, "_orig_mod.", "_fsdp_wrapped_module.") if left.startswith(one)), "")
            if not word:
                break
            left, taken = left.removeprefix(word), taken + word
            found.add(taken)
    return sorted(found, key=len)


def _require_all(
    names: Mapping[str, str], prefix: str, stored: Shapes, family: Shapes, tied: Mapping[str, str], source: str
) -> None:
    there = set(names.values())
    for name in family:
        if name not in there and not ({tied.get(name), *(one for one, to in tied.items() if to == name)} & there):
            near = nearest_names(name, stored)
            raise UserError(f"{source}: no tensor for {name!r} of the model in config.json. {near}")
    for name, to in names.items():
        if tuple(stored[name]) != tuple(family[to]):
            raise UserError(
                f"{source}: tensor {name!r} has shape {list(stored[name])}, the model in config.json wants "
                f"{list(family[to])}"
            )
    for name in _model_shapes(stored):
        if name not in names and name.startswith(prefix) and not name.endswith(_BUFFERS):
            raise UserError(f"{source}: tensor {name!r} is none of the model in config.json")


#: Constants that models recompute.
_BUFFERS = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias")


@cache
def family_shapes(config: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Name and shape of every parameter of the model that ``config`` describes, and which of them share numbers."""
    from e2lm_adapters.scoring.transformers_import import import_transformers_lightly

    import_transformers_lightly()
    import torch
    import transformers

    if not (config / "config.json").is_file():
        raise UserError(f"--config {config}: no config.json there; give the folder of a model of the same family")
    try:
        settings = transformers.AutoConfig.from_pretrained(config, local_files_only=True)
        named = [getattr(transformers, str(name), None) for name in settings.architectures or ()]
        with torch.device("meta"):
            model = (
                named[0](settings) if named and named[0] else transformers.AutoModelForCausalLM.from_config(settings)
            )
    except Exception as error:  # transformers raises many kinds
        raise UserError(f"--config {config}: no model can be made of it ({one_line(error):.160})") from error
    shapes = {name: tuple(one.shape) for name, one in model.named_parameters(remove_duplicate=False)}
    tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
    return shapes, tied if settings.get_text_config().tie_word_embeddings else {}


# -- reading --------------------------------------------------------------------------------------------------------


def check_file(place: Path, folder: None, config: Path | None, base: Path | None) -> None:
    """A :class:`UserError` where the tensors at ``place`` are not those of the family, or torch would not load it."""
    _given(config, place)
    _renamed(weights_of(_loaded(_file(place))), config, str(place))


def write_file(place: Path, folder: Path, config: Path | None, base: Path | None) -> None:
    """The state dict at ``place`` as a folder for transformers; ``torch.load(weights_only=True)`` reads it."""
    file = _file(place)
    write_folder(_renamed(weights_of(_loaded(file)), config, str(file)), folder, config)


def _renamed(tensors: Mapping[str, Any], config: Path | None, source: str) -> dict[str, torch.Tensor]:
    """The weights of the family under its names."""
    found = {to: tensors[name] for name, to in _fitting(_shapes(tensors), config, source).items()}
    _require_shared(found, config, source)
    return found


def _require_shared(tensors: Mapping[str, torch.Tensor], config: Path | None, source: str) -> None:
    """A :class:`UserError` where the family shares a tensor, so that one of two different ones would go unread."""
    for name, other in family_shapes(_given(config, source))[1].items():
        one, two = tensors.get(name), tensors.get(other)
        if one is None or two is None or one.data_ptr() == two.data_ptr():
            continue
        if one.shape != two.shape or not bool((one.nan_to_num() == two.nan_to_num()).all()):
            raise UserError(
                f"{source}: {name!r} and {other!r} hold different numbers, and by config.json the model shares them; "
                "set tie_word_embeddings to false"
            )


def check_distributed(place: Path, folder: None, config: Path | None, base: Path | None) -> None:
    """As :func:`check_file`, for a distributed checkpoint."""
    _fitting(_model_shapes(distributed_shapes(_inner(place))), config, str(place))


def write_distributed(place: Path, folder: Path, config: Path | None, base: Path | None) -> None:
    """As :func:`write_file`, for a distributed checkpoint."""
    inner = _inner(place)
    names = _fitting(_model_shapes(distributed_shapes(inner)), config, str(place))
    tensors = distributed_tensors(inner, names)
    found = {to: tensors[name] for name, to in names.items()}
    _require_shared(found, config, str(place))
    write_folder(found, folder, config)


def check_nanogpt(place: Path, folder: None, config: Path | None, base: Path | None) -> None:
    """As :func:`check_file`; what nanoGPT notes of the model must be what ``config.json`` says."""
    _given(config, place)
    stored = _loaded(place)
    _require_same_model(stored.get("model_args"), config, place)
    tensors = weights_of(stored)
    names, _ = _nanogpt_names(_shapes(stored), config, place)
    _require_shared({to: tensors[name] for name, to in names.items()}, config, str(place))


def write_nanogpt(place: Path, folder: Path, config: Path | None, base: Path | None) -> None:
    """NanoGPT's GPT-2: linear layers turned, and the biases that it leaves out written as the zeros they stand for."""
    import torch

    stored = _loaded(place)
    _require_same_model(stored.get("model_args"), config, place)
    tensors = weights_of(stored)
    names, family = _nanogpt_names(_shapes(stored), config, place)
    found = {to: tensors[name].t() if to.endswith(_TURNED) else tensors[name] for name, to in names.items()}
    _require_shared(found, config, str(place))
    like = next(iter(found.values()))
    for name in family:
        if name.endswith(".bias") and name not in found:
            found[name] = torch.zeros(family[name], dtype=like.dtype)
    write_folder(found, folder, config)


def _nanogpt_names(stored: Shapes, config: Path | None, place: Path) -> tuple[dict[str, str], Shapes]:
    family, tied = family_shapes(_given(config, place))
    turned = {name: shape[::-1] if name.endswith(_TURNED) else shape for name, shape in stored.items()}
    own = {_BETWEEN.sub("", name).removeprefix("module.") for name in stored}
    wanted = {name: shape for name, shape in family.items() if not name.endswith(".bias") or name in own}
    return family_names(turned, wanted, tied, str(place)), family


def _require_same_model(arguments: Any, config: Path | None, place: Path) -> None:
    told = json.loads((_given(config, place) / "config.json").read_text(encoding="utf-8"))
    if told.get("model_type") != "gpt2":
        raise UserError(f"{place}: is nanoGPT's; --config must describe a gpt2, found {told.get('model_type')!r}")
    if told.get("activation_function", "gelu_new") != "gelu":
        raise UserError(
            f"{config}/config.json: nanoGPT computes the exact GELU; set activation_function to 'gelu' "
            f"(found {told.get('activation_function', 'gelu_new')!r})"
        )
    for name in ("n_layer", "n_head", "n_embd"):
        if isinstance(arguments, dict) and arguments.get(name) not in (None, told.get(name, _GPT2[name])):
            raise UserError(f"{place}: was trained with {name}={arguments[name]}, {config}/config.json says otherwise")
    if (found := told.get("layer_norm_epsilon", 1e-5)) != 1e-5:
        raise UserError(f"{config}/config.json: nanoGPT's layer_norm_epsilon is 1e-5, found {found}")


#: What transformers takes where a config.json of a GPT-2 says nothing.
_GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}


def _fitting(stored: Shapes, config: Path | None, source: str) -> dict[str, str]:
    family, tied = family_shapes(_given(config, source))
    return family_names(stored, family, tied, source)


def _given(config: Path | None, source: object) -> Path:
    if config is None:
        raise UserError(f"{source}: --config DIR is needed, a folder with config.json and tokenizer")
    return config


def _file(place: Path) -> Path:
    return place if place.is_file() else next(files_of(place, "model.pth", "model.pt"))


def _inner(place: Path) -> Path:
    folder = distributed_folder(place)
    assert folder is not None
    return folder


def _loaded(file: Path) -> dict[str, Any]:
    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch and pickle raise many kinds
        raise UserError(
            f"{file}: torch.load(weights_only=True) refuses it, so it holds more than tensors and numbers "
            f"({one_line(error):.120}); save its state dict alone"
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file}: not the weights of a model (expected tensors by name)")
    return loaded


def write_folder(tensors: Mapping[str, torch.Tensor], folder: Path, config: Path | None) -> None:
    """Tensors with configuration and tokenizer as a folder for transformers; what shares memory is written twice."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for pattern in COMPANIONS if config is not None else ():
        for companion in sorted(_given(config, folder).glob(pattern)):
            if not companion.name.endswith(".index.json"):
                shutil.copyfile(companion, folder / companion.name)
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with whole_file(folder / SINGLE_FILE) as partial:
        save_file(whole, partial, metadata={"format": "pt"})


_HERE = "e2lm_adapters.checkpoints.formats.state_dict"
_LOOKS: dict[str, tuple[str, Callable[[Path], FoundCheckpoint | None], str]] = {
    "lightning": ("PyTorch Lightning's *.ckpt.", _lightning, "file"),
    "nanogpt": ("nanoGPT's ckpt.pt.", _nanogpt, "nanogpt"),
    "torch-dcp": ("Torch's distributed checkpoint: torchtitan, FSDP.", _distributed, "distributed"),
    "state-dict": ("A state dict alone: model.pth, model.pt.", _plain, "file"),
}
STATE_DICTS = tuple(
    CheckpointFormat(name, text, look, f"{_HERE}:write_{kind}", f"{_HERE}:check_{kind}", needs=("config",))
    for name, (text, look, kind) in _LOOKS.items()
)
