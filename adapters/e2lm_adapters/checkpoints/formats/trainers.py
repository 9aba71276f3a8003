"""Layouts that only their trainer's own converter turns into a folder for transformers: which it is, and the command.

Commands are run in a clone of the repository that the description names. What is written in capitals is the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from shlex import quote

from e2lm.checkpoint_format import CheckpointFormat, FoundCheckpoint
from e2lm.step_name import step_of
from e2lm_adapters.checkpoints.formats.torch_file import files_of, why_not_whole
from e2lm_adapters.checkpoints.formats.transformers_folder import trainer_state

#: DeepSpeed's states of one rank, with and without ZeRO.
_ZERO = ("*zero_pp_rank_*_states.pt",)
_RANKS = ("mp_rank_*_model_states.pt", "*zero_pp_rank_*_states.pt", "layer_*-model_*-model_states.pt")


def _out(place: Path) -> str:
    return quote(f"{place}-hf")


def _whole(files: Iterable[Path]) -> str:
    """Why one of ``files`` is not whole; empty where all are."""
    return next(filter(None, map(why_not_whole, files)), "")


def _named_later(marker: Path, place: Path) -> str:
    """Whether ``marker``, in which a trainer notes the last checkpoint that it finished, is still before ``place``."""
    try:
        last = marker.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    own, noted = _number(place.name), _number(last)
    if own is None or noted is None or own <= noted:
        return ""
    return f"{marker.name} names {last:.40}, so it is still being written"


def _number(name: str) -> int | None:
    named = step_of(name)
    return named.step if named is not None else int(name) if name.isdecimal() else None


def _deepspeed(place: Path) -> FoundCheckpoint | None:
    """``checkpoint-1000/global_step1000`` of the Trainer, Lightning's ``*.ckpt/checkpoint``, DeepSpeed alone."""
    if not place.is_dir():
        return None
    tags = [*sorted(place.glob("global_step*")), place / "checkpoint"]
    inner = [one for one in tags if one.is_dir() and any(files_of(one, *_RANKS))]
    if inner:
        files = tuple(files_of(inner[-1], *_RANKS))
        missing = "" if (place / "latest").is_file() else "the file 'latest', written last, is missing"
        step, tokens = trainer_state(place)
        root, tag = place, inner[-1].name
    else:
        files = tuple(files_of(place, *_RANKS))
        if not any(files_of(place, *_ZERO)) or any(files_of(place, "layer_*-model_*")) or (place / "configs").is_dir():
            return None
        missing, step, tokens = _named_later(place.parent / "latest", place), None, None
        root, tag = place.parent, place.name
    script = root / "zero_to_fp32.py"
    program = f"python {quote(str(script))}" if script.is_file() else "python -m deepspeed.utils.zero_to_fp32"
    command = f"{program} {quote(str(root))} {_out(place)} --safe_serialization --tag {quote(tag)}"
    return FoundCheckpoint(files, missing or _whole(files), command, step, tokens)


def _neox(place: Path) -> FoundCheckpoint | None:
    if not place.is_dir() or (any(files_of(place, *_ZERO)) and not any(files_of(place, "layer_*-model_*"))):
        return None
    files = tuple(files_of(place, "mp_rank_*_model_states.pt", "layer_*-model_*-model_states.pt"))
    if not files:
        return None
    config = next(files_of(place, "configs/*.yml"), Path("CONFIG.yml"))
    command = (
        f"python tools/ckpts/convert_neox_to_hf.py --input_dir {quote(str(place))} --config_file {quote(str(config))} "
        f"--output_dir {_out(place)} --precision auto --architecture neox"
    )
    return FoundCheckpoint(files, _named_later(place.parent / "latest", place) or _whole(files), command)


def _megatron(place: Path) -> FoundCheckpoint | None:
    """``iter_0001000`` with ``mp_rank_00`` and so on inside, or torch's distributed checkpoint with ``common.pt``."""
    if not place.is_dir():
        return None
    legacy = tuple(files_of(place, "mp_rank_*/model_*.pt", "mp_rank_*/distrib_optim.pt"))
    spread = (place / "common.pt").is_file() or (place / "metadata.json").is_file()
    shards = tuple(files_of(place, "*.distcp", ".metadata")) if spread else ()
    if not legacy and not shards:
        return None
    marker = _named_later(place.parent / "latest_checkpointed_iteration.txt", place)
    export = "python examples/conversion/convert_checkpoints.py export --hf-model CONFIG_OR_MODEL --megatron-path"
    if legacy:
        again = quote(f"{place.parent}-torch_dist")
        command = (
            f"your training command with --load {quote(str(place.parent))} --ckpt-convert-format torch_dist "
            f"--ckpt-convert-save {again}, then in Megatron-Bridge {export} {again} --hf-path {_out(place)}"
        )
        return FoundCheckpoint(legacy, marker or _whole(legacy), command)
    unfinished = marker or ("" if (place / ".metadata").is_file() else "'.metadata', written last, is missing")
    return FoundCheckpoint(shards, unfinished, f"{export} {quote(str(place))} --hf-path {_out(place)}")


def _litgpt(place: Path) -> FoundCheckpoint | None:
    file = place / "lit_model.pth"
    if not file.is_file():
        return None
    between = quote(f"{place}-litgpt")
    command = (
        f"litgpt convert_pretrained_checkpoint {quote(str(place))} --output_dir {between} && "
        f"litgpt convert_from_litgpt {between} {_out(place)}"
    )
    return FoundCheckpoint((file,), why_not_whole(file), command)


def _olmo(place: Path) -> FoundCheckpoint | None:
    """Unsharded: ``model.pt`` beside ``config.yaml``; sharded: ``rank0.pt``, or ``model/rank0.pt``; OLMo-core."""
    if not place.is_dir():
        return None
    if (place / "model_and_optim").is_dir():
        files = tuple(files_of(place, "model_and_optim/*.distcp", "model_and_optim/.metadata"))
        whole = (place / "model_and_optim" / ".metadata").is_file()
        command = f"python src/examples/huggingface/convert_checkpoint_to_hf.py -i {quote(str(place))} -o {_out(place)}"
        return FoundCheckpoint(files, "" if whole else "'.metadata', written last, is missing", command)
    if not (place / "config.yaml").is_file() or (place / "config.json").is_file():
        return None
    files = tuple(files_of(place, "model.pt", "model.safetensors"))
    shards = tuple(files_of(place, "rank*.pt", "model/rank*.pt"))
    if not files and not shards:
        return None
    source, before = place, ""
    if not files:
        source = place.with_name(f"{place.name}-unsharded")
        before = f"python scripts/unshard.py {quote(str(place))} {quote(str(source))} --model-only && "
    command = (
        f"{before}python scripts/convert_olmo_to_hf_new.py --input_dir {quote(str(source))} "
        f"--output_dir {_out(place)} --tokenizer_json_path TOKENIZER.json"
    )
    unfinished = _whole(one for one in files or shards if one.suffix == ".pt")
    return FoundCheckpoint(files or shards, unfinished, command)


def _nanotron(place: Path) -> FoundCheckpoint | None:
    """``1000`` with ``model/`` inside, whose files are named after the modules they belong to."""
    model = place / "model"
    if not model.is_dir() or not (place.name.isdecimal() or (place / "checkpoint_metadata.json").is_file()):
        return None
    files = tuple(files_of(model, "**/*.safetensors"))
    if not files or any(file.name.startswith("model") and file.parent == model for file in files):
        return None
    command = (
        f"torchrun --nproc_per_node=1 examples/llama/convert_nanotron_to_hf.py --checkpoint_path={quote(str(place))} "
        f"--save_path={_out(place)}"
    )
    return FoundCheckpoint(files, _named_later(place.parent / "latest.txt", place), command, _number(place.name))


def _composer(place: Path) -> FoundCheckpoint | None:
    if not place.is_file() or place.suffix != ".pt" or "-rank" not in place.name or step_of(place.name) is None:
        return None
    command = (
        f"python scripts/inference/convert_composer_to_hf.py --composer_path {quote(str(place))} "
        f"--hf_output_path {quote(str(place.with_suffix('')))}-hf --output_precision fp32"
    )
    return FoundCheckpoint((place,), why_not_whole(place), command)


_LOOKS: dict[str, tuple[str, Callable[[Path], FoundCheckpoint | None]]] = {
    "deepspeed": ("DeepSpeed ZeRO; zero_to_fp32.py lies beside it or in deepspeed.utils.", _deepspeed),
    "neox": ("GPT-NeoX (EleutherAI/gpt-neox).", _neox),
    "megatron": ("Megatron-LM; converted by NVIDIA-NeMo/Megatron-Bridge.", _megatron),
    "litgpt": ("LitGPT (Lightning-AI/litgpt); its state dict is then read with --config.", _litgpt),
    "olmo": ("OLMo (allenai/OLMo, allenai/OLMo-core).", _olmo),
    "nanotron": ("nanotron (huggingface/nanotron).", _nanotron),
    "composer": ("MosaicML Composer (mosaicml/llm-foundry).", _composer),
}
TRAINERS = tuple(CheckpointFormat(name, description, look) for name, (description, look) in _LOOKS.items())
