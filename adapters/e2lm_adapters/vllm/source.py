"""Where the files of ``pretrained=...,revision=...,subfolder=...`` are, and in what two checkpoints differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.weights import read_weight_index

#: What an evaluation reads of a repository: no pickles, no optimizer states.
WANTED_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model")
#: Everything that the tokens of a text, or the text of a chat, depend on.
TEXT_FILES = (
    *TOKENIZER_FILES,
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
GENERATION_FILE = "generation_config.json"

#: Entries of a configuration that say nothing about how the weights are used.
SILENT_ENTRIES = frozenset({"_name_or_path", "transformers_version", "use_cache", "_commit_hash", "_from_model_config"})
#: Those that say in what type they are stored, which is of interest where that decides the type computed in.
DTYPE_ENTRIES = frozenset({"torch_dtype", "dtype"})


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


def tokenizer_folder(folder: Path) -> Path | None:
    """``folder``, or the one above it where only that holds a tokenizer; None where neither does."""
    places = (place for place in (folder, folder.parent) if any((place / name).is_file() for name in TOKENIZER_FILES))
    return next(places, None)


def difference(first: Path, other: Path, tokenizer: Path | None, own_dtype: bool) -> str | None:
    """In what two checkpoints of a series differ so that weights alone do not make one the other; None: in nothing.

    ``tokenizer``: the folder of the one in use, where each checkpoint is read with its own. ``own_dtype``: each is
    computed in the type it is stored in (``dtype=auto``).
    """
    silent = SILENT_ENTRIES if own_dtype else SILENT_ENTRIES | DTYPE_ENTRIES
    for file, needed in (("config.json", True), (GENERATION_FILE, False)):
        entry = _differing_entry(_entries(first / file, needed), _entries(other / file, needed), silent)
        if entry is not None:
            return f"{file} differs in {entry!r}"
    theirs = tokenizer_folder(other)
    if tokenizer is not None and theirs is not None:
        name = next((name for name in TEXT_FILES if _text(tokenizer / name) != _text(theirs / name)), None)
        if name is not None:
            return f"its tokenizer differs in {name}"
    return _differing_type(first, other) if own_dtype else None


def _differing_entry(ours: dict[str, Any], theirs: dict[str, Any], silent: frozenset[str]) -> str | None:
    names = sorted((ours.keys() | theirs.keys()) - silent)
    return next((name for name in names if ours.get(name) != theirs.get(name)), None)


def _differing_type(first: Path, other: Path) -> str | None:
    ours, theirs = read_weight_index(first).tensors, read_weight_index(other).tensors
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name].dtype != theirs[name].dtype:
            return f"tensor {name!r} is stored as {theirs[name].dtype}, before as {ours[name].dtype}"
    return None


def _text(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _entries(path: Path, needed: bool) -> dict[str, Any]:
    if not needed and not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); copy it from the first checkpoint") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: found {type(found).__name__}, expected an object")
    return found
