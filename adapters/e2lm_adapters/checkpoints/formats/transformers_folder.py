"""A folder that transformers loads: safetensors, sharded or not, or pickles where the user allows them."""

from __future__ import annotations

import json
from pathlib import Path

from e2lm.checkpoint_format import CheckpointFormat, FoundCheckpoint
from e2lm.errors import UserError
from e2lm.pickled_weights import is_pickled, pickled_files
from e2lm.weights import SHARD_INDEX, SINGLE_FILE, read_weight_index
from e2lm_adapters.checkpoints.formats.torch_file import why_not_whole
from e2lm_adapters.checkpoints.pickled import write_as_safetensors

#: Written by the Trainer of transformers when everything else of a checkpoint is there.
TRAINER_STATE = "trainer_state.json"


def trainer_state(folder: Path) -> tuple[int | None, int | None]:
    """Step and training tokens that the Trainer of transformers noted in ``folder``; None where it did not."""
    try:
        state = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
        step, tokens = state.get("global_step"), state.get("num_input_tokens_seen")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None, None
    return (step if _is_count(step) else None), (tokens if _is_count(tokens) and tokens else None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _safetensors(place: Path) -> FoundCheckpoint | None:
    if not place.is_dir() or _is_native(place):
        return None
    index, single = place / SHARD_INDEX, place / SINGLE_FILE
    shards = sorted(place.glob("model-*-of-*.safetensors"))
    if not (index.is_file() or single.is_file() or shards):
        return None
    step, tokens = trainer_state(place)
    try:
        found = read_weight_index(place)
    except (UserError, OSError) as error:
        why = str(error).removeprefix(f"{place}: ").removeprefix(f"{place}/")
        files = (single,) if single.is_file() else tuple(shards)
        return FoundCheckpoint(files, unfinished=why, step=step, tokens=tokens)
    return FoundCheckpoint(
        found.files, step=step, tokens=tokens, params=found.params, params_non_embedding=found.params_non_embedding
    )


def _is_native(place: Path) -> bool:
    """Whether the safetensors are of OLMo's own program, with its own names."""
    return (place / "config.yaml").is_file() and not (place / "config.json").is_file()


def _pickled(place: Path) -> FoundCheckpoint | None:
    if not place.is_dir() or not is_pickled(place):
        return None
    step, tokens = trainer_state(place)
    try:
        files = tuple(pickled_files(place))
    except UserError as error:
        return FoundCheckpoint((), unfinished=str(error), step=step, tokens=tokens)
    unfinished = next(filter(None, map(why_not_whole, files)), "")
    command = (
        f"python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{place}')"
        f".save_pretrained('{place}-safetensors')\""
    )
    return FoundCheckpoint(files, unfinished, command, step, tokens)


def write_pickled(place: Path, folder: Path, config: Path | None, base: Path | None) -> None:
    """The pickles in ``place`` as safetensors in ``folder``."""
    write_as_safetensors(place, folder)


SAFETENSORS = CheckpointFormat("safetensors", "A folder that transformers loads, weights as safetensors.", _safetensors)
PICKLE = CheckpointFormat(
    "pickle",
    "A folder that transformers loads, weights as pytorch_model.bin.",
    _pickled,
    write="e2lm_adapters.checkpoints.formats.transformers_folder:write_pickled",
    needs=("allow_pickle",),
)
