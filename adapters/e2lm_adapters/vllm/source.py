"""Where the files of ``pretrained=...,revision=...,subfolder=...`` are on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.weights import WeightIndex

#: What an evaluation reads of a repository: no pickles, no optimizer states.
WANTED_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model")

#: Entries of config.json that say nothing about how the weights are used.
SILENT_ENTRIES = frozenset(
    {"_name_or_path", "transformers_version", "use_cache", "torch_dtype", "dtype", "architectures", "_commit_hash"}
)


def checkpoint_folder(pretrained: str, revision: str | None, subfolder: str | None) -> Path:
    """The local folder of a checkpoint; a Hub name is downloaded, or taken from the Hub's cache when offline."""
    root = Path(pretrained)
    if not root.is_dir():
        if root.is_absolute() or pretrained.startswith((".", "~")):
            raise UserError(f"pretrained={pretrained}: no such folder")
        root = _downloaded(pretrained, revision, subfolder)
    folder = root / subfolder if subfolder else root
    if not (folder / "config.json").is_file():
        near = sorted(path.parent.name for path in root.glob("*/config.json"))[:5]
        hint = f"; subfolder= may be one of {', '.join(near)}" if near else ""
        raise UserError(f"{folder}: no config.json, so no checkpoint{hint}")
    return folder


def _downloaded(repo: str, revision: str | None, subfolder: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # A subfolder may hold the weights only; the tokenizer is then in the folder above.
    patterns = list(WANTED_FILES)
    if subfolder:
        patterns = [f"{subfolder}/{one}" for one in WANTED_FILES] + [
            one for one in WANTED_FILES if one != "*.safetensors"
        ]
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        where = f"{repo}@{revision}" if revision else repo
        raise UserError(
            f"pretrained={where}: neither a folder nor a model on the Hub that can be read ({one_line(error)[:200]})"
        ) from error


def tokenizer_folder(folder: Path) -> Path:
    """``folder``, or the one above it where only that holds a tokenizer."""
    for place in (folder, folder.parent):
        if any((place / name).is_file() for name in TOKENIZER_FILES):
            return place
    return folder


def require_same_types(first: WeightIndex, other: WeightIndex) -> None:
    """A :class:`UserError` where a tensor is stored in another type, so that ``dtype=auto`` would mean another one."""
    for name, tensor in other.tensors.items():
        if name in first.tensors and first.tensors[name].dtype != tensor.dtype:
            raise UserError(
                f"{other.folder}: tensor {name!r} is stored as {tensor.dtype}, in {first.folder.name} of the same "
                f"series as {first.tensors[name].dtype}; say dtype=float32 or dtype=bfloat16 for all of them"
            )


def differing_entry(first: Path, other: Path) -> str | None:
    """An entry of config.json in which two checkpoints differ so that weights alone do not make one the other."""
    ours, theirs = _config(first), _config(other)
    for name in sorted((ours.keys() | theirs.keys()) - SILENT_ENTRIES):
        if ours.get(name) != theirs.get(name):
            return str(name)
    return None


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); copy it from the first checkpoint") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: found {type(found).__name__}, expected an object")
    return found
