"""LoRA adapters over a base: ``adapter_config.json`` with ``adapter_model.safetensors``, merged as peft merges them.

W + B A * alpha / r (Hu et al. 2021, section 4.1), with rsLoRA alpha / sqrt(r), in float32 and rounded once to the type
of W; turned where the base keeps a layer as Conv1D; biases and modules that were trained whole take the place of the
base's. Anything else (DoRA, other kinds of adapters) is refused with the command by which peft itself merges it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from e2lm.checkpoint_format import CheckpointFormat, FoundCheckpoint
from e2lm.errors import UserError, one_line
from e2lm.parameter_count import names_an_embedding
from e2lm.weights import StoredTensor, WeightIndex, read_weight_index, tensors_in
from e2lm_adapters.checkpoints.formats.state_dict import write_folder
from e2lm_adapters.checkpoints.formats.torch_file import inspected, shapes_in, why_not_whole
from e2lm_adapters.checkpoints.formats.transformers_folder import trainer_state
from e2lm_adapters.checkpoints.pickled import COMPANIONS
from e2lm_adapters.scoring.swap import stored_tensors

if TYPE_CHECKING:
    import torch

SETTINGS = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_OUTSIDE = "base_model.model."
#: Families whose layers are Conv1D, [in, out], where others have nn.Linear, [out, in].
_CONV1D = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
#: Settings that change nothing of the formula, or that are read here. Any other one must have a value that is none.
_KNOWN = frozenset(
    {
        *(
            "task_type",
            "peft_type",
            "auto_mapping",
            "peft_version",
            "base_model_name_or_path",
            "revision",
            "inference_mode",
        ),
        *("r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out", "bias"),
        *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern"),
        *("init_lora_weights", "eva_config", "megatron_core", "runtime_config", "qalora_group_size"),
        "inference_mode",
    }
)
#: Ways to begin that leave the base as it is. PiSSA, OLoRA, CorDA and LoftQ take a part of the base away.
_BEGINNINGS = (True, False, None, "gaussian", "eva")


@dataclass(frozen=True, slots=True)
class Factors:
    """The two matrices of one layer, by the names of their tensors, and what their product is multiplied with."""

    a: str
    b: str
    scale: float
    embedding: bool


def _look(place: Path) -> FoundCheckpoint | None:
    if not (place / SETTINGS).is_file():
        return None
    step, tokens = trainer_state(place)
    out = quote(f"{place}-merged")
    command = (
        f"python -c \"from peft import AutoPeftModelForCausalLM as M; M.from_pretrained('{place}').merge_and_unload()"
        f".save_pretrained('{place}-merged')\" && cp {quote(str(place))}/*token* {out}"
    )
    file = next((place / name for name in _WEIGHTS if (place / name).is_file()), None)
    if file is None:
        return FoundCheckpoint((), f"no {_WEIGHTS[0]} beside {SETTINGS} yet", command, step, tokens)
    try:
        base = _named_base(_settings(place))
        shapes = adapter_shapes(file)
    except UserError as error:
        why = str(error).removeprefix(f"{place}: ").removeprefix(f"{place}/")
        return FoundCheckpoint((file,), why, command, step, tokens)
    params = sum(math.prod(shape) for shape in shapes.values())
    return FoundCheckpoint((file,), "", command, step, tokens, params, base=base)


def _named_base(settings: Mapping[str, Any]) -> str:
    """The base that the adapter was trained over, with the revision of it (``owner/name@step1000``) if it says one."""
    base, revision = str(settings.get("base_model_name_or_path") or ""), settings.get("revision")
    return f"{base}@{revision}" if base and revision else base


def _settings(place: Path) -> dict[str, Any]:
    try:
        settings = json.loads((place / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{place / SETTINGS}: cannot be read ({one_line(error):.120})") from error
    if not isinstance(settings, dict):
        raise UserError(f"{place / SETTINGS}: expected an object")
    return settings


def adapter_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of an adapter; a :class:`UserError` for a file that is not whole."""
    if file.suffix == ".safetensors":
        return {name: one.shape for name, one in tensors_in(file).items()}
    unfinished = why_not_whole(file)
    if unfinished:
        raise UserError(f"{file}: {unfinished}")
    return shapes_in(inspected(file))


def check_adapter(place: Path, folder: None, config: Path | None, base: Path | None) -> None:
    """A :class:`UserError` where the adapter cannot be merged into ``base`` by the formula above."""
    file = _file(place)
    shapes, stored = adapter_shapes(file), _base_index(place, base)
    factors, whole = _planned(place, shapes, stored, _base_settings(stored.folder))
    for name, one in factors.items():
        _require_fit(place, name, stored.tensors[name], shapes[one.a], shapes[one.b], _turned(stored.folder, one))
    for name, target in whole.items():
        if shapes[name] != stored.tensors[target].shape:
            raise UserError(f"{file}: {name!r} has shape {list(shapes[name])}, {target!r} of the base another")


def write_merged(place: Path, folder: Path, config: Path | None, base: Path | None) -> None:
    """The base with the adapter at ``place`` merged into it, as a folder for transformers."""
    check_adapter(place, None, config, base)
    stored = _base_index(place, base)
    adapter = _tensors(_file(place))
    shapes = {name: tuple(one.shape) for name, one in adapter.items()}
    factors, whole = _planned(place, shapes, stored, _base_settings(stored.folder))
    tensors = dict(stored_tensors(stored))
    for name, target in whole.items():
        tensors[target] = adapter[name].to(tensors[target].dtype)
    for name, one in factors.items():
        tensors[name] = _merged(tensors[name], adapter[one.a], adapter[one.b], one, _turned(stored.folder, one))
    write_folder(tensors, folder, stored.folder)
    for pattern in COMPANIONS:  # its own tokenizer goes before the base's
        for companion in sorted(place.glob(pattern)):
            if companion.name not in (SETTINGS, "trainer_state.json") and companion.name != "config.json":
                shutil.copyfile(companion, folder / companion.name)


def _merged(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, one: Factors, turned: bool) -> torch.Tensor:
    product = b.float() @ a.float()
    return (weight + (product.t() if turned else product) * one.scale).to(weight.dtype)


def _turned(base: Path, one: Factors) -> bool:
    return one.embedding or _base_settings(base).get("model_type") in _CONV1D


def _planned(
    place: Path, shapes: Mapping[str, tuple[int, ...]], base: WeightIndex, base_settings: Mapping[str, Any]
) -> tuple[dict[str, Factors], dict[str, str]]:
    """Factors by the name of the base's tensor that they change, and tensors that take the place of one of the base."""
    settings = _settings(place)
    _require_plain(place, settings)
    factors: dict[str, Factors] = {}
    whole: dict[str, str] = {}
    for name in sorted(shapes):
        module, part, embedding = _parsed(name)
        other = _other_half(name, part)
        if other and other not in shapes:
            raise UserError(f"{place}: {name!r} is there without its other half {other!r}")
        if part == "A":
            target = _base_name(place, f"{module}.weight", base)
            factors[target] = Factors(name, other, _scale(settings, module, shapes[name][0]), embedding)
        elif part == "whole":
            whole[name] = _base_name(place, module, base)
    if not factors and not whole:
        raise UserError(f"{place}: the adapter changes nothing, no tensor is in it; save it again from the live model")
    if base_settings.get("tie_word_embeddings") is not False:  # unsaid, it may be: by family and release
        _require_untied(place, {*factors, *whole.values()})
    return factors, whole


def _other_half(name: str, part: str) -> str:
    """What the tensor ``name`` is multiplied with; empty for one that stands alone."""
    if part == "whole":
        return ""
    before, after = ("A", "B") if part == "A" else ("B", "A")
    return re.sub(rf"\.lora_(embedding_)?{before}(?=\.|$)", rf".lora_\g<1>{after}", name)


def _require_plain(place: Path, settings: Mapping[str, Any]) -> None:
    if settings.get("peft_type") != "LORA":
        raise UserError(f"{place / SETTINGS}: peft_type {settings.get('peft_type')!r} is not LORA; {_by_peft(place)}")
    if settings.get("init_lora_weights") not in _BEGINNINGS:
        raise UserError(f"{place / SETTINGS}: init_lora_weights changes the base, too; {_by_peft(place)}")
    for name in sorted(set(settings) - _KNOWN):
        if settings[name] not in (None, False, [], {}, ""):
            raise UserError(f"{place / SETTINGS}: {name} = {settings[name]!r:.60} is more than LoRA; {_by_peft(place)}")


def _require_untied(place: Path, names: set[str]) -> None:
    odd = sorted(name for name in names if names_an_embedding(name))
    if odd:
        raise UserError(f"{place}: changes {odd[0]!r}, which the base shares with its other end; {_by_peft(place)}")


def _by_peft(place: Path) -> str:
    found = _look(place)
    return f"peft itself merges it: {found.convert if found else ''}"


def _parsed(name: str) -> tuple[str, str, bool]:
    """Module, part (A, B, or whole) and whether it is an embedding, of the name of an adapter's tensor."""
    own = name.removeprefix(_OUTSIDE)
    match = re.fullmatch(r"(.+)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?", own)
    if match is not None:
        return match[1], match[3], match[2] is not None
    return own.replace(".base_layer.", ".").replace(".modules_to_save.", "."), "whole", False


def _scale(settings: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = float(_by_pattern(settings.get("alpha_pattern"), module, settings.get("lora_alpha", 8)))
    told = int(_by_pattern(settings.get("rank_pattern"), module, settings.get("r", rank)))
    if told != rank:
        raise UserError(f"{SETTINGS}: says rank {told} for {module}, the tensors have {rank}")
    return alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """The value whose key is the module's name or matches the end of it, as peft looks it up."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise


def _base_name(place: Path, wanted: str, base: WeightIndex) -> str:
    """The base's own name of the tensor: as it is, or one that has more or fewer words in front."""
    if wanted in base.tensors:
        return wanted
    alike = [name for name in base.tensors if name.endswith(f".{wanted}") or wanted.endswith(f".{name}")]
    if len(alike) != 1:
        raise UserError(f"{place}: the base {base.folder} has no tensor {wanted!r}; give another with --base")
    return alike[0]


def _require_fit(
    place: Path, name: str, weight: StoredTensor, a: tuple[int, ...], b: tuple[int, ...], turned: bool
) -> None:
    product = (b[0], a[1]) if len(a) == len(b) == 2 and a[0] == b[1] else ()
    if (product[::-1] if turned else product) != weight.shape:
        raise UserError(
            f"{place}: B {list(b)} times A {list(a)} does not fit {name!r} of the base, {list(weight.shape)}"
        )


def _base_index(place: Path, base: Path | None) -> WeightIndex:
    if base is None:
        raise UserError(f"{place}: --base DIR is needed, the model that this adapter changes")
    return read_weight_index(base)


def _base_settings(base: Path) -> dict[str, Any]:
    try:
        settings = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{base / 'config.json'}: cannot be read ({one_line(error):.120})") from error
    return dict(settings)


def _file(place: Path) -> Path:
    return next(place / name for name in _WEIGHTS if (place / name).is_file())


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(file))
    import torch

    return dict(torch.load(file, map_location="cpu", weights_only=True))


_HERE = "e2lm_adapters.checkpoints.formats.lora"
LORA = CheckpointFormat(
    "lora",
    "A LoRA adapter of peft over a base.",
    _look,
    write=f"{_HERE}:write_merged",
    check=f"{_HERE}:check_adapter",
    needs=("base",),
)
